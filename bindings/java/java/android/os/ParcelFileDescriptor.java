package android.os;

import android.system.ErrnoException;
import android.system.OsConstants;
import java.io.Closeable;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileNotFoundException;
import java.io.FileOutputStream;
import java.io.IOException;

/**
 * A file descriptor that can travel in a {@link Parcel}. All that this class makes are closed on exec.
 *
 * <p>One that is not closed is closed some time after nothing refers to its {@link FileDescriptor} any more. (On Android that is
 * so when nothing refers to this object, whoever still uses its {@link FileDescriptor}.)
 */
public class ParcelFileDescriptor implements Parcelable, Closeable {
    /** For {@link #open}: readable by others. It is not, whatever this says, as on newer Android. */
    public static final int MODE_WORLD_READABLE = 0x00000001;
    /** For {@link #open}: writable by others. It is not, whatever this says, as on newer Android. */
    public static final int MODE_WORLD_WRITEABLE = 0x00000002;
    /** For {@link #open}: for reading. */
    public static final int MODE_READ_ONLY = 0x10000000;
    /** For {@link #open}: for writing. */
    public static final int MODE_WRITE_ONLY = 0x20000000;
    /** For {@link #open}: for reading and writing. */
    public static final int MODE_READ_WRITE = 0x30000000;
    /** For {@link #open}: makes the file if there is none. */
    public static final int MODE_CREATE = 0x08000000;
    /** For {@link #open}: empties the file. */
    public static final int MODE_TRUNCATE = 0x04000000;
    /** For {@link #open}: writes at the end. */
    public static final int MODE_APPEND = 0x02000000;

    /** Reads what {@link #writeToParcel} has written. */
    public static final Parcelable.Creator<ParcelFileDescriptor> CREATOR = new Parcelable.Creator<ParcelFileDescriptor>() {
        @Override
        public ParcelFileDescriptor createFromParcel(Parcel source) {
            return new ParcelFileDescriptor(read(source));
        }

        @Override
        public ParcelFileDescriptor[] newArray(int size) {
            return new ParcelFileDescriptor[size];
        }
    };

    private final FileDescriptor descriptor;
    /** Guarded by this. */
    private boolean closed;

    /** Takes over a descriptor. */
    ParcelFileDescriptor(FileDescriptor descriptor) {
        this.descriptor = descriptor;
    }

    /**
     * Opens a file.
     *
     * @param mode some of the {@code MODE_*} constants
     * @throws FileNotFoundException if it cannot be opened
     * @throws IllegalArgumentException if the mode is for neither reading nor writing
     */
    public static ParcelFileDescriptor open(File file, int mode) throws FileNotFoundException {
        int flags;
        switch (mode & MODE_READ_WRITE) {
            case MODE_READ_ONLY:
                flags = OsConstants.O_RDONLY;
                break;
            case MODE_WRITE_ONLY:
                flags = OsConstants.O_WRONLY;
                break;
            case MODE_READ_WRITE:
                flags = OsConstants.O_RDWR;
                break;
            default:
                throw new IllegalArgumentException("Must specify MODE_READ_ONLY, MODE_WRITE_ONLY, or MODE_READ_WRITE");
        }
        flags |= (mode & MODE_CREATE) != 0 ? OsConstants.O_CREAT : 0;
        flags |= (mode & MODE_TRUNCATE) != 0 ? OsConstants.O_TRUNC : 0;
        flags |= (mode & MODE_APPEND) != 0 ? OsConstants.O_APPEND : 0;
        try {
            return new ParcelFileDescriptor(Descriptors.open(file.getPath(), flags, OsConstants.S_IRUSR | OsConstants.S_IWUSR));
        } catch (ErrnoException exception) {
            FileNotFoundException notFound = new FileNotFoundException(file + ": " + exception.getMessage());
            notFound.initCause(exception);
            throw notFound;
        }
    }

    /**
     * The {@code MODE_*} constants that "r", "w", "wt", "wa", "rw" or "rwt" stands for.
     *
     * @throws IllegalArgumentException of anything else
     */
    public static int parseMode(String mode) {
        switch (mode) {
            case "r":
                return MODE_READ_ONLY;
            case "w":
            case "wt":
                return MODE_WRITE_ONLY | MODE_CREATE | MODE_TRUNCATE;
            case "wa":
                return MODE_WRITE_ONLY | MODE_CREATE | MODE_APPEND;
            case "rw":
                return MODE_READ_WRITE | MODE_CREATE;
            case "rwt":
                return MODE_READ_WRITE | MODE_CREATE | MODE_TRUNCATE;
            default:
                throw new IllegalArgumentException("Bad mode '" + mode + "'");
        }
    }

    /**
     * A duplicate of a descriptor, which stays the caller's.
     *
     * @throws IOException if it is closed, or there is no free descriptor
     */
    public static ParcelFileDescriptor dup(FileDescriptor orig) throws IOException {
        try {
            return new ParcelFileDescriptor(Descriptors.duplicate(orig));
        } catch (ErrnoException exception) {
            throw exception.rethrowAsIOException();
        }
    }

    /**
     * A duplicate of this descriptor.
     *
     * @throws IOException if there is no free descriptor
     * @throws IllegalStateException if it is closed
     */
    public ParcelFileDescriptor dup() throws IOException {
        return dup(getFileDescriptor());
    }

    /**
     * A duplicate of the descriptor with a number, which stays the caller's.
     *
     * @throws IOException if there is none, or no free one
     */
    public static ParcelFileDescriptor fromFd(int fd) throws IOException {
        try {
            return new ParcelFileDescriptor(Descriptors.duplicate(fd));
        } catch (ErrnoException exception) {
            throw exception.rethrowAsIOException();
        }
    }

    /**
     * Takes over the descriptor with a number: nobody else closes it. (Closed, 0, 1 and 2 lead to {@code /dev/null}: so the JDK
     * does.)
     *
     * @throws IllegalArgumentException if there is none, which Android finds out later
     */
    public static ParcelFileDescriptor adoptFd(int fd) {
        try {
            return new ParcelFileDescriptor(Descriptors.adopt(fd));
        } catch (ErrnoException exception) {
            throw new IllegalArgumentException("There is no descriptor " + fd, exception);
        }
    }

    /**
     * A new pipe: the end for reading, and the one for writing.
     *
     * @throws IOException if there is no free descriptor
     */
    public static ParcelFileDescriptor[] createPipe() throws IOException {
        FileDescriptor[] ends = new FileDescriptor[2];
        try {
            Descriptors.pipe(ends);
        } catch (ErrnoException exception) {
            throw exception.rethrowAsIOException();
        }
        return new ParcelFileDescriptor[] {new ParcelFileDescriptor(ends[0]), new ParcelFileDescriptor(ends[1])};
    }

    /**
     * The descriptor, which stays this object's.
     *
     * @throws IllegalStateException if it is closed
     */
    public FileDescriptor getFileDescriptor() {
        requireOpen();
        return descriptor;
    }

    /**
     * The descriptor's number, which stays this object's.
     *
     * @throws IllegalStateException if it is closed
     */
    public int getFd() {
        requireOpen();
        return open(Descriptors.number(descriptor));
    }

    /**
     * The descriptor's number, which is the caller's to close from here on. This object is closed afterwards.
     *
     * @throws IllegalStateException if it is closed
     */
    public int detachFd() {
        synchronized (this) {
            requireOpen();
            closed = true;
        }
        return open(Descriptors.detach(descriptor));
    }

    /**
     * Size in bytes of a regular file, or of shared memory; -1 of anything else. (On Android shared memory has none.)
     *
     * @throws IllegalStateException if it is closed
     */
    public long getStatSize() {
        requireOpen();
        try {
            return Descriptors.size(descriptor);
        } catch (ErrnoException exception) {
            return -1;
        }
    }

    /** Closes the descriptor, and the streams that use it. Closing again does nothing. */
    @Override
    public void close() throws IOException {
        synchronized (this) {
            if (closed) {
                return;
            }
            closed = true;
        }
        Descriptors.close(descriptor);
    }

    @Override
    public int describeContents() {
        return CONTENTS_FILE_DESCRIPTOR;
    }

    /**
     * Writes a duplicate of the descriptor.
     *
     * @param flags with {@link #PARCELABLE_WRITE_RETURN_VALUE} this object is closed afterwards
     * @throws IllegalStateException if it is closed
     */
    @Override
    public void writeToParcel(Parcel out, int flags) {
        try {
            write(out, getFileDescriptor());
        } finally {
            if ((flags & PARCELABLE_WRITE_RETURN_VALUE) != 0) {
                closeQuietly();
            }
        }
    }

    @Override
    public String toString() {
        return "{ParcelFileDescriptor: " + descriptor + "}";
    }

    /** As AOSP writes it: there is no channel for the peer's status, then the descriptor. */
    static void write(Parcel out, FileDescriptor descriptor) {
        out.whole(() -> {
            out.writeInt(0);
            out.writeFileDescriptor(descriptor);
        });
    }

    /** What {@link #write} has written; the descriptor is the caller's. */
    static FileDescriptor read(Parcel source) {
        if (source.readInt() != 0) {
            throw new BadParcelableException("A descriptor with a channel for its status, which does not exist here");
        }
        FileDescriptor descriptor = source.readRawFileDescriptor();
        if (descriptor == null) {
            throw new BadParcelableException("There is no descriptor");
        }
        return descriptor;
    }

    private synchronized void requireOpen() {
        if (closed) {
            throw new IllegalStateException("Already closed");
        }
    }

    /** A number that was read while somebody else may have closed it. */
    private static int open(int number) {
        if (number < 0) {
            throw new IllegalStateException("Already closed");
        }
        return number;
    }

    void closeQuietly() {
        try {
            close();
        } catch (IOException exception) {
            // It is closed all the same.
        }
    }

    /** Reads from a descriptor, and closes it when it is closed itself. */
    public static class AutoCloseInputStream extends FileInputStream {
        private final ParcelFileDescriptor owner;

        /**
         * Reads from this descriptor.
         *
         * @throws IllegalStateException if it is closed
         */
        public AutoCloseInputStream(ParcelFileDescriptor pfd) {
            super(pfd.getFileDescriptor());
            owner = pfd;
        }

        @Override
        public void close() throws IOException {
            try {
                super.close();
            } finally {
                owner.close();
            }
        }
    }

    /** Writes to a descriptor, and closes it when it is closed itself. */
    public static class AutoCloseOutputStream extends FileOutputStream {
        private final ParcelFileDescriptor owner;

        /**
         * Writes to this descriptor.
         *
         * @throws IllegalStateException if it is closed
         */
        public AutoCloseOutputStream(ParcelFileDescriptor pfd) {
            super(pfd.getFileDescriptor());
            owner = pfd;
        }

        @Override
        public void close() throws IOException {
            try {
                super.close();
            } finally {
                owner.close();
            }
        }
    }
}
