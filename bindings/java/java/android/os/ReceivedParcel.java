package android.os;

import java.io.FileDescriptor;

/** The objects of a parcel that came from another process, which stay with Binder until they are read. */
final class ReceivedParcel {
    private ReceivedParcel() {}

    /**
     * Reads a binder.
     *
     * @param position where it begins
     * @param endPosition gets where it ends, at index 0
     * @throws BadParcelableException if there is none
     * @throws IllegalStateException if the parcel was released
     */
    static native IBinder readStrongBinder(long handle, int position, int[] endPosition);

    /** As {@link #readStrongBinder}, for a descriptor, which is the caller's. A descriptor can be read once. */
    static native FileDescriptor readFileDescriptor(long handle, int position, int[] endPosition);

    /** Lets go of the parcel. Later reads fail. */
    static native void release(long handle);
}
