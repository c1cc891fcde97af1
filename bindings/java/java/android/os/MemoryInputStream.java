package android.os;

import java.io.IOException;
import java.io.InputStream;
import java.util.Objects;

/**
 * Reads a {@link MemoryFile} from its start. {@link #read()} gives 0 to 255, or -1 at the end. (Android's gives a signed byte, so
 * that 255 looks like the end.)
 */
final class MemoryInputStream extends InputStream {
    private final MemoryFile file;
    private final byte[] single = new byte[1];
    private int position;
    private int mark;

    MemoryInputStream(MemoryFile file) {
        this.file = file;
    }

    @Override
    public synchronized int available() {
        return file.length() - position;
    }

    @Override
    public boolean markSupported() {
        return true;
    }

    /** The limit says nothing: a mark is never forgotten. */
    @Override
    public synchronized void mark(int readLimit) {
        mark = position;
    }

    /** Goes back to the mark, or to the start of the file. */
    @Override
    public synchronized void reset() {
        position = mark;
    }

    @Override
    public synchronized int read() throws IOException {
        return read(single, 0, 1) == 1 ? single[0] & 0xFF : -1;
    }

    @Override
    public synchronized int read(byte[] buffer, int offset, int count) throws IOException {
        Objects.checkFromIndexSize(offset, count, buffer.length);
        if (count == 0) {
            return 0;
        }
        int length = Math.min(count, available());
        if (length == 0) {
            return -1;
        }
        file.readBytes(buffer, position, offset, length);
        position += length;
        return length;
    }

    @Override
    public synchronized long skip(long count) {
        long skipped = Math.max(0, Math.min(count, available()));
        position += (int) skipped;
        return skipped;
    }
}
