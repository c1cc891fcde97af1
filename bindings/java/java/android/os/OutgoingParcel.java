package android.os;

import java.io.FileDescriptor;

/** A parcel as native code takes it. Fields are read by native code. */
final class OutgoingParcel {
    static final OutgoingParcel EMPTY = new OutgoingParcel(null, new byte[0], 0, 0);

    private static final int NULL_BINDER = 0;
    private static final int LOCAL_BINDER = 1;
    private static final int PROXY = 2;
    private static final int FILE_DESCRIPTOR = 3;
    private static final int WORDS = 4;
    /** As many go with one message. */
    private static final int MOST_DESCRIPTORS = 64;

    private final Parcel parcel;
    final byte[] bytes;
    final int size;
    /** For each object: position, how many bytes are in its place, kind, number in native code. Null if there is none. */
    final long[] places;
    /** For each object: itself. Null if there is none. */
    final Object[] objects;

    private OutgoingParcel(Parcel parcel, byte[] bytes, int size, int objectCount) {
        this.parcel = parcel;
        this.bytes = bytes;
        this.size = size;
        places = objectCount == 0 ? null : new long[WORDS * objectCount];
        objects = objectCount == 0 ? null : new Object[objectCount];
    }

    /**
     * What a parcel has now.
     *
     * @throws IllegalArgumentException if it has more than 64 descriptors, or an {@link IBinder} that is of neither class of
     *     this package
     */
    static OutgoingParcel of(Parcel parcel) {
        int count = parcel.objectCount();
        OutgoingParcel outgoing = new OutgoingParcel(parcel, parcel.data(), parcel.dataSize(), count);
        int descriptors = 0;
        for (int index = 0; index < count; index++) {
            outgoing.put(index, parcel);
            if (outgoing.objects[index] instanceof FileDescriptor && ++descriptors > MOST_DESCRIPTORS) {
                throw new IllegalArgumentException("a parcel has at most " + MOST_DESCRIPTORS + " descriptors");
            }
        }
        return outgoing;
    }

    /** Called by native code when it has all of a parcel with objects. */
    private void recycle() {
        parcel.recycle();
    }

    private void put(int index, Parcel parcel) {
        Object object = parcel.object(index);
        int word = WORDS * index;
        places[word] = parcel.objectPosition(index);
        places[word + 1] = parcel.objectSize(index);
        objects[index] = object;
        if (object == null) {
            places[word + 2] = NULL_BINDER;
        } else if (object instanceof Binder) {
            places[word + 2] = LOCAL_BINDER;
            places[word + 3] = ((Binder) object).id();
        } else if (object instanceof BinderProxy) {
            places[word + 2] = PROXY;
            places[word + 3] = ((BinderProxy) object).handle();
        } else if (object instanceof FileDescriptor) {
            places[word + 2] = FILE_DESCRIPTOR;
        } else {
            throw new IllegalArgumentException(
                    object.getClass().getName() + " cannot be sent: it is neither a Binder nor came from another process");
        }
    }
}
