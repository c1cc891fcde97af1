package android.os;

import android.system.ErrnoException;
import java.io.FileDescriptor;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.ref.Cleaner;
import java.lang.ref.Reference;
import java.util.Objects;

/**
 * A file in shared memory, with a fixed length, whose contents may be purged between accesses if its owner
 * {@linkplain #allowPurging allows} it.
 *
 * <p>Any thread may use it, and close it while others use it: their accesses then fail, or have been complete. One that is not
 * closed is closed some time after nothing refers to it any more.
 *
 * <p>Once it was purged, reads throw {@code IOException("MemoryFile has been purged")} until it is written, or purging is
 * switched off; what was not written since reads as zeros. (Android's own throws once, and then reads zeros.)
 */
public class MemoryFile {
    private final long handle;
    private final int length;
    private final Cleaner.Cleanable cleanable;
    /** A duplicate, which its users may close. Null until it is asked for, and when closed. Guarded by this. */
    private FileDescriptor descriptor;

    /**
     * Makes a file of zeros, which cannot be purged yet.
     *
     * @param name a label, which shows in {@code /proc/PID/maps}; may be null
     * @param length in bytes
     * @throws IllegalArgumentException if the length is 0 or less
     * @throws IOException if there is no memory or no descriptor for it, or the name has a NUL or more than 249 bytes
     */
    public MemoryFile(String name, int length) throws IOException {
        this(create(name, length), length);
    }

    /**
     * The first bytes of a memory file that was received, for reading. Purging is its owner's affair. The descriptor stays the
     * caller's, and may be closed.
     *
     * @param length in bytes
     * @param mode must be "r"
     * @throws NullPointerException if there is no descriptor
     * @throws IllegalArgumentException if it is not that of a memory file or other region; if the length is 0 or less; of another
     *     mode
     * @throws IOException if the descriptor is closed, if the file is shorter, if it may not be read, or if it cannot be sealed
     *     against shrinking
     */
    public MemoryFile(FileDescriptor fd, int length, String mode) throws IOException {
        this(open(fd, length, mode), length);
    }

    @SuppressWarnings("this-escape") // Only to the cleaner, which does not look at it.
    private MemoryFile(long handle, int length) {
        this.handle = handle;
        this.length = length;
        cleanable = Release.counted(Release.FILE, this, new Close(handle));
    }

    private static long create(String name, int length) throws IOException {
        if (length <= 0) {
            throw new IllegalArgumentException("Length must be greater than zero: " + length);
        }
        NativeLibrary.require();
        requireRoom();
        return makeDescriptor(() -> nativeCreate(name, length));
    }

    private static long open(FileDescriptor fd, int length, String mode) throws IOException {
        if (fd == null) {
            throw new NullPointerException("File descriptor is null.");
        }
        if (!isMemoryFile(fd)) {
            throw new IllegalArgumentException("Not a memory file.");
        }
        if (!"r".equals(mode)) {
            throw new IllegalArgumentException("Unsupported file mode: '" + mode + "'");
        }
        if (length <= 0) {
            throw new IllegalArgumentException("Length must be greater than zero: " + length);
        }
        requireRoom();
        return makeDescriptor(() -> {
            synchronized (fd) {
                return nativeOpen(fd, length);
            }
        });
    }

    private static <T> T makeDescriptor(Release.Maker<T, IOException> maker) throws IOException {
        try {
            return Release.makeDescriptor(maker);
        } catch (ErrnoException exception) {
            throw exception.rethrowAsIOException();
        }
    }

    private static void requireRoom() throws IOException {
        if (!Release.makeRoom(Release.FILE)) {
            throw new IOException("Too many memory files and mappings");
        }
    }

    /** Closes the file, and the descriptor that {@link #getFileDescriptor} gives. Closing again does nothing. */
    public void close() {
        cleanable.clean();
        FileDescriptor left;
        synchronized (this) {
            left = descriptor;
            descriptor = null;
        }
        if (left != null) {
            try {
                Descriptors.close(left);
            } catch (IOException exception) {
                // It is closed all the same.
            }
        }
    }

    /** Unmaps the file, and keeps its descriptor. Later accesses fail. */
    public void deactivate() {
        try {
            nativeDeactivate(handle);
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    /** Length in bytes. */
    public int length() {
        return length;
    }

    /** Whether it was deactivated, or closed. */
    public boolean isDeactivated() {
        try {
            return nativeIsDeactivated(handle);
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    /** Whether the contents may be purged between accesses. */
    public boolean isPurgingAllowed() {
        try {
            return nativeIsPurgingAllowed(handle);
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    /**
     * Says whether the contents may be purged between accesses, and returns what was said before. At first they may not. Switched
     * off, the file is readable again also after a purge; then all of it is zeros.
     *
     * @throws IOException if the file was received; if that changes anything, also if it is closed, or the kernel refuses
     */
    public boolean allowPurging(boolean allowPurging) throws IOException {
        try {
            return makeDescriptor(() -> nativeAllowPurging(handle, allowPurging));
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    /** A stream that reads the file from its start. */
    public InputStream getInputStream() {
        return new MemoryInputStream(this);
    }

    /**
     * A stream that writes the file from its start. What does not fit is refused whole, with an {@link
     * IndexOutOfBoundsException}.
     */
    public OutputStream getOutputStream() {
        return new MemoryOutputStream(this);
    }

    /**
     * Reads bytes.
     *
     * @param srcOffset where they are in the file
     * @param destOffset where they go in the buffer
     * @return the count
     * @throws IndexOutOfBoundsException if an offset or the count is outside of the file or the buffer; nothing is read then
     * @throws IOException if it is deactivated or closed, or has been purged
     */
    public int readBytes(byte[] buffer, int srcOffset, int destOffset, int count) throws IOException {
        Objects.requireNonNull(buffer);
        try {
            nativeRead(handle, buffer, srcOffset, destOffset, count);
        } finally {
            Reference.reachabilityFence(this);
        }
        return count;
    }

    /**
     * Writes bytes. If the file has been purged, the rest of it is zeros.
     *
     * @param srcOffset where they are in the buffer
     * @param destOffset where they go in the file
     * @throws IndexOutOfBoundsException if an offset or the count is outside of the file or the buffer; nothing is written then
     * @throws IOException if it is deactivated or closed, or was received
     */
    public void writeBytes(byte[] buffer, int srcOffset, int destOffset, int count) throws IOException {
        Objects.requireNonNull(buffer);
        try {
            nativeWrite(handle, buffer, srcOffset, destOffset, count);
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    /**
     * A descriptor of the file, which this object closes when it is closed. Who closes it before gets another one the next time,
     * and the file is not closed by that. A {@link java.io.FileInputStream} on it reads the memory; behind it there are more
     * bytes once purging was allowed.
     *
     * @throws IOException if the file is closed, or there is no free descriptor
     */
    public synchronized FileDescriptor getFileDescriptor() throws IOException {
        if (descriptor == null || !descriptor.valid()) {
            descriptor = duplicate();
        }
        return descriptor;
    }

    /**
     * A duplicate of the descriptor, to send.
     *
     * @throws IOException if the file is closed, or there is no free descriptor
     */
    public ParcelFileDescriptor getParcelFileDescriptor() throws IOException {
        try {
            return new ParcelFileDescriptor(duplicate());
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    /**
     * Whether a descriptor is that of a memory file, or of another region or memfd that is not empty.
     *
     * @throws IOException if it is closed
     */
    public static boolean isMemoryFile(FileDescriptor fd) throws IOException {
        return size(fd) >= 0;
    }

    /**
     * Size in bytes of the memory file behind a descriptor; -1 if it is not that of one.
     *
     * @throws IOException if the descriptor is closed, or the size is not an int
     */
    public static int getSize(FileDescriptor fd) throws IOException {
        long size = size(fd);
        if (size > Integer.MAX_VALUE) {
            throw new IOException("MemoryFile of " + size + " bytes: an int holds no more than 2 GiB");
        }
        return (int) size;
    }

    private static long size(FileDescriptor fd) throws IOException {
        try {
            return Descriptors.regionSize(fd);
        } catch (ErrnoException exception) {
            throw exception.rethrowAsIOException();
        }
    }

    private FileDescriptor duplicate() throws IOException {
        return makeDescriptor(() -> nativeDuplicate(handle));
    }

    /** As all that makes descriptors, throws an {@link ErrnoException} if there is none left, or none to duplicate. */
    private static native long nativeCreate(String name, int length) throws IOException, ErrnoException;

    private static native long nativeOpen(FileDescriptor descriptor, int length) throws IOException, ErrnoException;

    private static native void nativeClose(long handle);

    private static native void nativeDeactivate(long handle);

    private static native boolean nativeIsDeactivated(long handle);

    private static native boolean nativeAllowPurging(long handle, boolean allow) throws IOException, ErrnoException;

    private static native boolean nativeIsPurgingAllowed(long handle);

    private static native void nativeRead(long handle, byte[] buffer, int srcOffset, int destOffset, int count)
            throws IOException;

    private static native void nativeWrite(long handle, byte[] buffer, int srcOffset, int destOffset, int count)
            throws IOException;

    private static native FileDescriptor nativeDuplicate(long handle) throws IOException, ErrnoException;

    private static native int nativeCount();

    private static final class Close implements Runnable {
        private final long handle;

        Close(long handle) {
            this.handle = handle;
        }

        @Override
        public void run() {
            nativeClose(handle);
        }
    }
}
