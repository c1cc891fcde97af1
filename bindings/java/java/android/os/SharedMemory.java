package android.os;

import android.system.ErrnoException;
import android.system.OsConstants;
import java.io.Closeable;
import java.io.FileDescriptor;
import java.io.IOException;
import java.lang.ref.Cleaner;
import java.lang.ref.Reference;
import java.nio.ByteBuffer;

/**
 * Shared memory, with a protection that can only be narrowed, and that can be closed while mappings stay. Any thread may use it,
 * and close it while others use it. One that is not closed is closed some time after nothing refers to it any more.
 */
public final class SharedMemory implements Parcelable, Closeable {
    /** Reads what {@link #writeToParcel} has written. */
    public static final Parcelable.Creator<SharedMemory> CREATOR = new Parcelable.Creator<SharedMemory>() {
        /** {@inheritDoc} What is not shared memory is a {@link BadParcelableException}. */
        @Override
        public SharedMemory createFromParcel(Parcel source) {
            try {
                return take(ParcelFileDescriptor.read(source));
            } catch (IllegalArgumentException exception) {
                throw new BadParcelableException("Not shared memory", exception);
            }
        }

        @Override
        public SharedMemory[] newArray(int size) {
            return new SharedMemory[size];
        }
    };

    private static final int PROT_ALL = OsConstants.PROT_READ | OsConstants.PROT_WRITE | OsConstants.PROT_EXEC;

    private final long handle;
    private final int size;
    private final Cleaner.Cleanable cleanable;
    private volatile boolean closed;

    private SharedMemory(long handle, int size) {
        this.handle = handle;
        this.size = size;
        cleanable = Release.counted(Release.ONE, this, new Close(handle));
    }

    /**
     * Makes shared memory of zeros, with every protection bit.
     *
     * @param name a label, which shows in {@code /proc/PID/maps}; may be null
     * @param size in bytes
     * @throws IllegalArgumentException if the size is 0 or less
     * @throws ErrnoException if there is no descriptor for it, or the name has a NUL or more than 249 bytes (EINVAL)
     */
    public static SharedMemory create(String name, int size) throws ErrnoException {
        if (size <= 0) {
            throw new IllegalArgumentException("Size must be greater than zero");
        }
        NativeLibrary.require();
        if (!Release.makeRoom(Release.ONE)) {
            throw new ErrnoException("SharedMemory_create", OsConstants.ENOMEM);
        }
        return new SharedMemory(Release.makeDescriptor(() -> nativeCreate(name, size)), size);
    }

    /**
     * Takes over a descriptor that was received. It is closed also after an exception.
     *
     * @throws IllegalArgumentException if it is not that of shared memory, or of more than 2 GiB
     * @throws IllegalStateException if it is closed
     */
    public static SharedMemory fromFileDescriptor(ParcelFileDescriptor fd) {
        FileDescriptor descriptor = fd.getFileDescriptor();
        try {
            return take(descriptor);
        } finally {
            // There is nothing left to close, but its owner should know.
            fd.closeQuietly();
        }
    }

    /** Leaves the descriptor closed. */
    private static SharedMemory take(FileDescriptor descriptor) {
        int number = Descriptors.detach(descriptor);
        if (number < 0) {
            throw new IllegalStateException("Already closed");
        }
        long[] size = new long[1];
        long handle = nativeAdopt(number, size);
        return new SharedMemory(handle, (int) size[0]);
    }

    /**
     * Narrows the protection of later mappings, in all processes and for good. Mappings that there are stay as they are.
     *
     * @param prot some of {@link OsConstants#PROT_READ}, {@link OsConstants#PROT_WRITE} and {@link OsConstants#PROT_EXEC}
     * @return false if that was refused: it has a bit that the protection has not any more, or this holder may not
     * @throws IllegalStateException if it is closed
     * @throws IllegalArgumentException of other bits
     */
    public boolean setProtect(int prot) {
        requireOpen();
        requireKnown(prot);
        try {
            return nativeSetProtect(handle, prot);
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    /**
     * Size in bytes.
     *
     * @throws IllegalStateException if it is closed
     */
    public int getSize() {
        requireOpen();
        return size;
    }

    /**
     * The number of the descriptor, which stays this object's; -1 when it is closed. It may be closed, and the number used again,
     * at any moment; {@link #getFdDup} gives one that stays.
     */
    public int getFd() {
        try {
            return closed ? -1 : nativeFd(handle);
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    /**
     * A duplicate of the descriptor, to send.
     *
     * @throws IllegalStateException if it is closed
     * @throws IOException if there is no free descriptor
     */
    public ParcelFileDescriptor getFdDup() throws IOException {
        try {
            return new ParcelFileDescriptor(duplicate());
        } catch (ErrnoException exception) {
            throw exception.rethrowAsIOException();
        }
    }

    /**
     * Maps everything for reading and writing.
     *
     * @throws IllegalStateException if it is closed
     * @throws ErrnoException as {@link #map}
     */
    public ByteBuffer mapReadWrite() throws ErrnoException {
        return map(OsConstants.PROT_READ | OsConstants.PROT_WRITE, 0, size);
    }

    /**
     * Maps everything for reading.
     *
     * @throws IllegalStateException if it is closed
     * @throws ErrnoException as {@link #map}
     */
    public ByteBuffer mapReadOnly() throws ErrnoException {
        return map(OsConstants.PROT_READ, 0, size);
    }

    /**
     * Maps a part as a direct buffer, which is read-only unless it is for writing. It stays mapped until it is {@linkplain #unmap
     * unmapped}, or nothing refers to it or to a view of it any more. One for neither reading nor writing reads as zeros. (On
     * Android the process crashes.)
     *
     * @param prot some of {@link OsConstants#PROT_READ}, {@link OsConstants#PROT_WRITE} and {@link OsConstants#PROT_EXEC}
     * @param offset where it begins in bytes, a multiple of the page size
     * @param length in bytes, any number
     * @throws IllegalStateException if it is closed
     * @throws IllegalArgumentException of other bits; of a negative offset, a length of 0 or less, or an end behind the end of
     *     the memory
     * @throws ErrnoException EPERM if the protection does not allow it, or the memory cannot be sealed against shrinking; EACCES
     *     for writing through a read-only descriptor; EINVAL of an offset inside of a page; ENOMEM
     */
    public ByteBuffer map(int prot, int offset, int length) throws ErrnoException {
        requireOpen();
        requireKnown(prot);
        if (offset < 0) {
            throw new IllegalArgumentException("Offset must be >= 0");
        }
        if (length <= 0) {
            throw new IllegalArgumentException("Length must be > 0");
        }
        if ((long) offset + length > size) {
            throw new IllegalArgumentException("offset + length must not exceed getSize()");
        }
        try {
            return Mappings.map(handle, prot, offset, length);
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    /**
     * Unmaps a buffer that {@link #map} gave, or a view of it, and releases its memory at once. The buffer has the limit 0 from
     * there on, so that accesses throw {@link IndexOutOfBoundsException} or {@link java.nio.BufferUnderflowException}. With a new
     * limit, as {@link ByteBuffer#clear} sets it, it shows zeros, as other views of the memory do; what is written to them stays
     * with them. No access can crash, whichever thread makes it. (On Android it does.) Unmapping again does nothing.
     *
     * @throws IllegalArgumentException if it is null, was not made by {@link #map}, or is a view without any bytes
     */
    public static void unmap(ByteBuffer buffer) {
        if (buffer == null || !buffer.isDirect() || !Mappings.unmap(buffer)) {
            throw new IllegalArgumentException("ByteBuffer wasn't created by #map(int, int, int); can't unmap");
        }
    }

    /** Closes the descriptor. Mappings stay. Closing again does nothing. */
    @Override
    public void close() {
        closed = true;
        cleanable.clean();
    }

    @Override
    public int describeContents() {
        return CONTENTS_FILE_DESCRIPTOR;
    }

    /**
     * Writes a duplicate of the descriptor, as a {@link ParcelFileDescriptor} does. This object stays open, whatever the flags
     * say, as on Android.
     *
     * @throws IllegalStateException if it is closed
     * @throws BadParcelableException if there is no free descriptor
     */
    @Override
    public void writeToParcel(Parcel dest, int flags) {
        FileDescriptor duplicate;
        try {
            duplicate = duplicate();
        } catch (ErrnoException exception) {
            throw new BadParcelableException(exception);
        }
        ParcelFileDescriptor owner = new ParcelFileDescriptor(duplicate);
        owner.writeToParcel(dest, PARCELABLE_WRITE_RETURN_VALUE);
    }

    private FileDescriptor duplicate() throws ErrnoException {
        requireOpen();
        try {
            return Release.makeDescriptor(() -> nativeDuplicate(handle));
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    private void requireOpen() {
        if (closed) {
            throw new IllegalStateException("SharedMemory is closed");
        }
    }

    private static void requireKnown(int prot) {
        if ((prot & ~PROT_ALL) != 0) {
            throw new IllegalArgumentException("Invalid prot value");
        }
    }

    private static native long nativeCreate(String name, int size) throws ErrnoException;

    /** Takes over the descriptor, also when it throws. */
    private static native long nativeAdopt(int number, long[] size);

    private static native void nativeClose(long handle);

    private static native boolean nativeSetProtect(long handle, int prot);

    private static native int nativeFd(long handle);

    private static native FileDescriptor nativeDuplicate(long handle) throws ErrnoException;

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
