package android.os;

import android.system.ErrnoException;
import android.system.OsConstants;
import java.nio.ByteBuffer;

/**
 * Mappings of {@link SharedMemory} as direct buffers. The addresses of one stay its own as long as something refers to the
 * buffer, or to a view of it, which keeps the buffer; so views of what was unmapped have nobody else's memory.
 */
final class Mappings {
    private Mappings() {}

    static ByteBuffer map(long memory, int prot, int offset, int length) throws ErrnoException {
        if (!Release.makeRoom(Release.ONE)) {
            throw new ErrnoException("mmap", OsConstants.ENOMEM);
        }
        long[] mapping = new long[1];
        ByteBuffer buffer = nativeMap(memory, prot, offset, length, mapping);
        Release.counted(Release.ONE, buffer, new Unmap(mapping[0]));
        return (prot & OsConstants.PROT_WRITE) != 0 ? buffer : buffer.asReadOnlyBuffer();
    }

    /** False if it is not a buffer of ours. */
    static boolean unmap(ByteBuffer buffer) {
        NativeLibrary.require();
        if (!nativeUnmap(buffer)) {
            return false;
        }
        buffer.limit(0);
        return true;
    }

    private static native ByteBuffer nativeMap(long memory, int prot, int offset, int length, long[] mapping)
            throws ErrnoException;

    /** Releases the memory, and keeps the addresses. */
    private static native boolean nativeUnmap(ByteBuffer buffer);

    private static native void nativeRelease(long mapping);

    private static native int nativeCount();

    private static final class Unmap implements Runnable {
        private final long mapping;

        Unmap(long mapping) {
            this.mapping = mapping;
        }

        @Override
        public void run() {
            nativeRelease(mapping);
        }
    }
}
