package android.os;

import java.io.IOException;
import java.io.OutputStream;

/** Writes a {@link MemoryFile} from its start. What does not fit is refused whole, and the position stays. */
final class MemoryOutputStream extends OutputStream {
    private final MemoryFile file;
    private final byte[] single = new byte[1];
    private int position;

    MemoryOutputStream(MemoryFile file) {
        this.file = file;
    }

    @Override
    public synchronized void write(int oneByte) throws IOException {
        single[0] = (byte) oneByte;
        write(single, 0, 1);
    }

    @Override
    public synchronized void write(byte[] buffer, int offset, int count) throws IOException {
        file.writeBytes(buffer, offset, position, count);
        position += count;
    }
}
