package android.os;

import android.system.ErrnoException;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.IOException;

/**
 * What {@link FileDescriptor}s lack. The object is the truth: whoever closes it, it says so afterwards, and its number is not
 * used any more. So descriptors are closed through it and not by their numbers, and all that reads the number does so under the
 * object's lock, which closing takes, too. The JDK closes a descriptor when its object is not reachable any more.
 */
final class Descriptors {
    private Descriptors() {}

    /** A duplicate, closed on exec. */
    static FileDescriptor duplicate(FileDescriptor descriptor) throws ErrnoException {
        NativeLibrary.require();
        return Release.makeDescriptor(() -> {
            synchronized (descriptor) {
                return nativeDuplicate(descriptor);
            }
        });
    }

    /** A duplicate of the descriptor with this number, closed on exec. */
    static FileDescriptor duplicate(int number) throws ErrnoException {
        NativeLibrary.require();
        return Release.makeDescriptor(() -> nativeDuplicateNumber(number));
    }

    /** The descriptor with this number, which is closed with the object from here on. */
    static FileDescriptor adopt(int number) throws ErrnoException {
        NativeLibrary.require();
        return nativeAdopt(number);
    }

    /** The number, which is the caller's to close from here on; -1 if it is closed. The object is closed afterwards. */
    static int detach(FileDescriptor descriptor) {
        NativeLibrary.require();
        synchronized (descriptor) {
            return nativeDetach(descriptor);
        }
    }

    /** The number; -1 if it is closed. */
    static int number(FileDescriptor descriptor) {
        NativeLibrary.require();
        synchronized (descriptor) {
            return nativeNumber(descriptor);
        }
    }

    /** Opens a file, closed on exec. The flags and the mode are those of {@code open(2)}. */
    static FileDescriptor open(String path, int flags, int mode) throws ErrnoException {
        NativeLibrary.require();
        return Release.makeDescriptor(() -> nativeOpen(path, flags, mode));
    }

    /** Fills in both ends of a new pipe, the reading one first. */
    static void pipe(FileDescriptor[] ends) throws ErrnoException {
        NativeLibrary.require();
        Release.makeDescriptor(() -> {
            nativePipe(ends);
            return ends;
        });
    }

    /** Size in bytes of a region or of a regular file; -1 of anything else. */
    static long size(FileDescriptor descriptor) throws ErrnoException {
        NativeLibrary.require();
        synchronized (descriptor) {
            return nativeSize(descriptor);
        }
    }

    /** Size in bytes of a region; -1 of anything else. */
    static long regionSize(FileDescriptor descriptor) throws ErrnoException {
        NativeLibrary.require();
        synchronized (descriptor) {
            return nativeRegionSize(descriptor);
        }
    }

    /** Closes it, and the streams that use it. Closing again does nothing. */
    static void close(FileDescriptor descriptor) throws IOException {
        new FileInputStream(descriptor).close();
    }

    private static native FileDescriptor nativeDuplicate(FileDescriptor descriptor) throws ErrnoException;

    private static native FileDescriptor nativeDuplicateNumber(int number) throws ErrnoException;

    private static native FileDescriptor nativeAdopt(int number) throws ErrnoException;

    private static native int nativeDetach(FileDescriptor descriptor);

    private static native int nativeNumber(FileDescriptor descriptor);

    private static native FileDescriptor nativeOpen(String path, int flags, int mode) throws ErrnoException;

    private static native void nativePipe(FileDescriptor[] ends) throws ErrnoException;

    private static native long nativeSize(FileDescriptor descriptor) throws ErrnoException;

    private static native long nativeRegionSize(FileDescriptor descriptor) throws ErrnoException;
}
