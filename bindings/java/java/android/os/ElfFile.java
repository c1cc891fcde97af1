package android.os;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** Looks at a library before the system's loader does, which does not survive one that is cut off. */
final class ElfFile {
    private static final int HEADER = 64;
    private static final int PROGRAM_HEADER = 56;
    private static final int PT_LOAD = 1;

    private ElfFile() {}

    /**
     * Checks that all that is to be mapped is there.
     *
     * @throws UnsatisfiedLinkError if it is not, or the file is no library of 64 bits
     */
    static void requireWhole(Path file) {
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
            long size = channel.size();
            ByteBuffer header = read(channel, file, 0, HEADER);
            // The magic number, 64 bits, little-endian.
            if (header.getInt(0) != 0x464C457F || header.getShort(4) != 0x0102) {
                throw new UnsatisfiedLinkError(file + " is no library: it has no ELF header of 64 bits");
            }
            int count = Short.toUnsignedInt(header.getShort(56));
            if (Short.toUnsignedInt(header.getShort(54)) != PROGRAM_HEADER) {
                throw new UnsatisfiedLinkError(file + " is no library: its program headers have another size");
            }
            ByteBuffer programs = read(channel, file, header.getLong(32), count * PROGRAM_HEADER);
            for (int at = 0; at < programs.limit(); at += PROGRAM_HEADER) {
                long offset = programs.getLong(at + 8);
                long length = programs.getLong(at + 32);
                if (programs.getInt(at) == PT_LOAD && (offset < 0 || length < 0 || length > size || offset > size - length)) {
                    throw cut(file);
                }
            }
        } catch (IOException exception) {
            UnsatisfiedLinkError error = new UnsatisfiedLinkError(file + " cannot be read: " + exception);
            error.initCause(exception);
            throw error;
        }
    }

    private static ByteBuffer read(FileChannel channel, Path file, long position, int count) throws IOException {
        ByteBuffer bytes = ByteBuffer.allocate(count).order(ByteOrder.LITTLE_ENDIAN);
        if (position < 0 || position > channel.size() - count) {
            throw cut(file);
        }
        while (bytes.hasRemaining()) {
            if (channel.read(bytes, position + bytes.position()) < 0) {
                throw cut(file);
            }
        }
        return bytes;
    }

    private static UnsatisfiedLinkError cut(Path file) {
        return new UnsatisfiedLinkError(file + " is no whole library: the file ends too early");
    }
}
