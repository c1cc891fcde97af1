package android.os;

import java.io.FileDescriptor;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.lang.ref.Cleaner;
import java.lang.ref.Reference;
import java.lang.reflect.Array;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;

/**
 * A message to or from an {@link IBinder}: values, binders and descriptors one after another. They are read in the order and with
 * the types they were written. A parcel begins empty, at position 0; reads and writes move the one position that it has.
 *
 * <p>Where this differs from Android: a read of what is not there throws {@link BadParcelableException} and leaves the position
 * where it was, instead of giving 0 or null without a word. A write that throws leaves the position and the size as they were.
 * Use after {@link #recycle()} throws {@link IllegalStateException}, also when other parcels were obtained since. A parcel that
 * came from another process can only be read, until {@link #setDataSize setDataSize(0)} empties it. Neither maps, bundles nor
 * Java serialization are there.
 *
 * <p>A parcel is for one thread at a time.
 */
public final class Parcel {
    private static final VarHandle BUFFER;
    /** How deep parcelables may be within each other: far fewer than overflow a thread's stack. */
    private static final int MAX_DEPTH = 200;

    static {
        try {
            BUFFER = MethodHandles.lookup().findVarHandle(Parcel.class, "buffer", ParcelBuffer.class);
        } catch (ReflectiveOperationException exception) {
            throw new ExceptionInInitializerError(exception);
        }
    }

    /** Null once it is recycled. */
    private ParcelBuffer buffer = new ParcelBuffer();
    /** Releases what a received parcel has at Binder's; null if this one never was received. */
    private Cleaner.Cleanable cleanable;
    private int depth;

    private Parcel() {}

    /** An empty parcel. */
    public static Parcel obtain() {
        return new Parcel();
    }

    /** An empty parcel. The binder that it will be sent to makes no difference here. */
    public static Parcel obtain(IBinder binder) {
        return new Parcel();
    }

    /**
     * Ends this parcel, and closes its own descriptors. A parcel that is dropped instead is released after a while.
     *
     * @throws IllegalStateException if it was recycled before
     */
    public void recycle() {
        ParcelBuffer ended = (ParcelBuffer) BUFFER.getAndSet(this, null);
        if (ended == null) {
            throw recycled();
        }
        if (cleanable != null) {
            cleanable.clean();
        } else if (ended.objects != null) {
            ended.objects.run();
        }
    }

    private ParcelBuffer open() {
        ParcelBuffer current = buffer;
        if (current == null) {
            throw recycled();
        }
        return current;
    }

    private static IllegalStateException recycled() {
        return new IllegalStateException("the parcel was recycled");
    }

    /** Does several writes, or none of them if one throws. */
    void whole(Runnable writes) {
        open().whole(writes);
    }

    // ---- for the transport

    /**
     * Makes this a parcel that was received, at position 0. What it held is released.
     *
     * @param data the bytes as they came, which become this parcel's
     * @param received Binder's number for them in {@link ReceivedParcel}, which this parcel releases; 0 if there are no objects
     */
    void receive(byte[] data, int size, long received) {
        ParcelBuffer to = buffer;
        if (to == null) {
            if (received != 0) {
                ReceivedParcel.release(received);
            }
            throw recycled();
        }
        if (received != 0) {
            ParcelObjects objects = objects(to);
            if (cleanable == null) {
                cleanable = Release.of(this, objects);
            }
            objects.receive(received);
        } else if (to.objects != null) {
            to.objects.truncate(0);
        }
        to.bytes = data;
        to.size = size;
        to.position = 0;
    }

    private static ParcelObjects objects(ParcelBuffer of) {
        if (of.objects == null) {
            of.objects = new ParcelObjects();
        }
        return of.objects;
    }

    /** The bytes, {@link #dataSize} of them, to be sent; zeros where objects are. */
    byte[] data() {
        ParcelBuffer from = open();
        if (from.objects != null) {
            from.objects.requireLocal();
        }
        return from.bytes;
    }

    /** Whether the bytes begin with an interface token, or with what came from elsewhere. */
    boolean hasToken() {
        return open().mayHaveToken;
    }

    /** How many objects this parcel has, by rising position. */
    int objectCount() {
        ParcelObjects objects = open().objects;
        return objects == null ? 0 : objects.count();
    }

    int objectPosition(int index) {
        return open().objects.position(index);
    }

    /** An {@link IBinder}, null for a null binder, or a {@link FileDescriptor} of the parcel's. */
    Object object(int index) {
        return open().objects.object(index);
    }

    /** How many bytes the object takes among the {@link #data}. */
    int objectSize(int index) {
        return open().objects.size(index);
    }

    // ---- size and position

    /** The number of bytes. */
    public int dataSize() {
        return open().size;
    }

    /** The number of bytes behind the position. */
    public int dataAvail() {
        return open().available();
    }

    /** Where the next read or write is. */
    public int dataPosition() {
        return open().position;
    }

    /** The number of bytes that fit before memory is allocated again. */
    public int dataCapacity() {
        return open().bytes.length;
    }

    /**
     * Cuts bytes off the end, or appends zeros. Objects that are cut are released.
     *
     * @throws IllegalArgumentException if the size is negative or larger than an array can be
     */
    public void setDataSize(int size) {
        ParcelBuffer of = open();
        requireSize(size);
        if (of.objects != null) {
            if (size > of.size) {
                of.objects.requireWritable(of.size, size);
            }
            of.objects.truncate(size);
        }
        of.resize(size);
    }

    /**
     * Moves the position. Behind the end nothing can be read, and a write fills the gap with zeros.
     *
     * @throws IllegalArgumentException if the position is negative or larger than an array can be
     */
    public void setDataPosition(int position) {
        ParcelBuffer of = open();
        requireSize(position);
        of.position = position;
    }

    /**
     * Makes room, so that memory is allocated once.
     *
     * @throws IllegalArgumentException if the capacity is negative or larger than an array can be
     */
    public void setDataCapacity(int capacity) {
        ParcelBuffer of = open();
        requireSize(capacity);
        of.reserve(capacity);
    }

    private static void requireSize(int size) {
        if (size < 0 || size > ParcelBuffer.MAX_SIZE) {
            throw new IllegalArgumentException(size + " is not from 0 to " + ParcelBuffer.MAX_SIZE);
        }
    }

    /**
     * That everything was read.
     *
     * @throws BadParcelableException if there are bytes behind the position
     */
    public void enforceNoDataAvail() {
        int available = open().available();
        if (available > 0) {
            throw new BadParcelableException("Parcel data not fully consumed, unread size: " + available);
        }
    }

    // ---- whole parcels

    /**
     * The bytes, for {@link #unmarshall}. They are no format for storage: it may change with the version.
     *
     * @throws RuntimeException if there are binders or descriptors among them. Those of a received parcel are not known, and
     *         become bytes without a meaning
     */
    public byte[] marshall() {
        ParcelBuffer from = open();
        if (objectCount() > 0) {
            throw new RuntimeException("Tried to marshall a Parcel that contains objects (binders or FDs).");
        }
        return Arrays.copyOf(from.bytes, from.size);
    }

    /**
     * Makes these bytes the contents, with the position at their end.
     *
     * @throws IndexOutOfBoundsException if they are not in the array
     */
    public void unmarshall(byte[] data, int offset, int length) {
        Objects.checkFromIndexSize(offset, length, data.length);
        setDataSize(0);
        open().append(data, offset, length);
    }

    /**
     * Writes what another parcel holds from an offset on, with its objects: the same binders, and duplicates of the descriptors.
     *
     * @throws IndexOutOfBoundsException if it does not hold that much
     * @throws IllegalArgumentException if an object is there only in part
     * @throws IllegalStateException if the other parcel was received
     */
    public void appendFrom(Parcel parcel, int offset, int length) {
        ParcelBuffer from = parcel.open();
        ParcelBuffer to = open();
        Objects.checkFromIndexSize(offset, length, from.size);
        ParcelObjects copies = from.objects == null ? null
                : from.objects.copyRange(offset, offset + length, to.position - offset);
        try {
            to.whole(() -> {
                to.append(from.bytes, offset, length);
                if (copies != null && copies.count() > 0) {
                    objects(to).addAll(copies);
                }
            });
        } catch (RuntimeException | OutOfMemoryError exception) {
            if (copies != null) {
                copies.run();
            }
            throw exception;
        }
    }

    /**
     * Whether a descriptor was written.
     *
     * @throws IllegalStateException if the parcel was received: what objects it has is not known before they are read
     */
    public boolean hasFileDescriptors() {
        ParcelBuffer of = open();
        return of.objects != null && of.objects.hasDescriptors(0, of.size);
    }

    /**
     * Whether a descriptor was written in this range.
     *
     * @throws IllegalArgumentException if the range is not in the parcel
     * @throws IllegalStateException if the parcel was received
     */
    public boolean hasFileDescriptors(int offset, int length) {
        ParcelBuffer of = open();
        if (offset < 0 || length < 0 || length > of.size - offset) {
            throw new IllegalArgumentException(length + " bytes at " + offset + " are not in the parcel");
        }
        return of.objects != null && of.objects.hasDescriptors(offset, offset + length);
    }

    // ---- interfaces and exceptions

    /** Names the interface that is called: first in every request. */
    public void writeInterfaceToken(String interfaceName) {
        ParcelBuffer to = open();
        boolean isFirst = to.position == 0;
        to.writeString16(Objects.requireNonNull(interfaceName));
        to.mayHaveToken |= isFirst;
    }

    /**
     * Reads the name of the interface that is called.
     *
     * @throws SecurityException if it is another one
     */
    public void enforceInterface(String interfaceName) {
        ParcelBuffer from = open();
        if (!from.skipString16(interfaceName)) {
            throw new SecurityException("Binder invocation to an incorrect interface: expected '" + interfaceName + "'");
        }
    }

    /** Begins the reply to a call that was well. */
    public void writeNoException() {
        open().writeInt(ParcelExceptions.NONE);
    }

    /**
     * Makes the reply an exception: a {@link SecurityException}, {@link BadParcelableException},
     * {@link IllegalArgumentException}, {@link NullPointerException}, {@link IllegalStateException},
     * {@link UnsupportedOperationException}, {@link ServiceSpecificException} or a subclass of one. Its message travels with it.
     *
     * @throws RuntimeException that one, or one caused by it, if it is no such exception; nothing is written then
     */
    public void writeException(Exception exception) {
        ParcelBuffer to = open();
        to.whole(() -> ParcelExceptions.write(to, exception));
    }

    /** Reads what a reply begins with, and throws the exception if it is one. */
    public void readException() {
        RuntimeException exception = ParcelExceptions.read(open());
        if (exception != null) {
            throw exception;
        }
    }

    /** Throws the exception of a code and a message that were read. */
    public void readException(int code, String message) {
        throw ParcelExceptions.read(open(), code, message);
    }

    // ---- scalars: 4 bytes for what is smaller

    /** Writes an integer, 4 bytes. */
    public void writeInt(int value) {
        open().writeInt(value);
    }

    /** Reads an integer. */
    public int readInt() {
        return open().readInt();
    }

    /** Writes a long, 8 bytes. */
    public void writeLong(long value) {
        open().writeLong(value);
    }

    /** Reads a long. */
    public long readLong() {
        return open().readLong();
    }

    /** Writes a float, 4 bytes. */
    public void writeFloat(float value) {
        open().writeInt(Float.floatToRawIntBits(value));
    }

    /** Reads a float. */
    public float readFloat() {
        return Float.intBitsToFloat(open().readInt());
    }

    /** Writes a double, 8 bytes. */
    public void writeDouble(double value) {
        open().writeLong(Double.doubleToRawLongBits(value));
    }

    /** Reads a double. */
    public double readDouble() {
        return Double.longBitsToDouble(open().readLong());
    }

    /** Writes an integer, 0 or 1. */
    public void writeBoolean(boolean value) {
        open().writeInt(value ? 1 : 0);
    }

    /** Reads an integer; all but 0 is true. */
    public boolean readBoolean() {
        return open().readInt() != 0;
    }

    /** Writes a byte as an integer. */
    public void writeByte(byte value) {
        open().writeInt(value);
    }

    /** Reads an integer, and gives its lowest byte. */
    public byte readByte() {
        return (byte) open().readInt();
    }

    /** Writes a string or null: the length in UTF-16 units, the units as they are, a zero unit. */
    public void writeString(String value) {
        open().writeString16(value);
    }

    /** Reads a string or null. */
    public String readString() {
        return open().readString16();
    }

    // ---- arrays of primitives: the length, -1 for null, and the elements

    /** Writes bytes or null. */
    public void writeByteArray(byte[] array) {
        writeByteArray(array, 0, array == null ? 0 : array.length);
    }

    /**
     * Writes some bytes of an array; null as null.
     *
     * @throws ArrayIndexOutOfBoundsException if they are not in the array
     */
    public void writeByteArray(byte[] array, int offset, int length) {
        ParcelBuffer to = open();
        if (array == null) {
            to.writeInt(-1);
            return;
        }
        if (offset < 0 || length < 0 || length > array.length - offset) {
            throw new ArrayIndexOutOfBoundsException(length + " bytes at " + offset + " are not in " + array.length);
        }
        to.writeBytes(array, offset, length);
    }

    /** Reads bytes or null. */
    public byte[] createByteArray() {
        return ParcelArrays.createBytes(open());
    }

    /** Reads as many bytes as the array has. */
    public void readByteArray(byte[] into) {
        ParcelArrays.readBytes(open(), into);
    }

    /** Writes booleans or null, 4 bytes each. */
    public void writeBooleanArray(boolean[] array) {
        ParcelArrays.write(open(), array);
    }

    /** Reads booleans or null. */
    public boolean[] createBooleanArray() {
        return ParcelArrays.createBooleans(open());
    }

    /** Reads as many booleans as the array has. */
    public void readBooleanArray(boolean[] into) {
        ParcelArrays.read(open(), into);
    }

    /** Writes UTF-16 units or null, 4 bytes each. */
    public void writeCharArray(char[] array) {
        ParcelArrays.write(open(), array);
    }

    /** Reads UTF-16 units or null. */
    public char[] createCharArray() {
        return ParcelArrays.createChars(open());
    }

    /** Reads as many UTF-16 units as the array has. */
    public void readCharArray(char[] into) {
        ParcelArrays.read(open(), into);
    }

    /** Writes integers or null. */
    public void writeIntArray(int[] array) {
        ParcelArrays.write(open(), array);
    }

    /** Reads integers or null. */
    public int[] createIntArray() {
        return ParcelArrays.createInts(open());
    }

    /** Reads as many integers as the array has. */
    public void readIntArray(int[] into) {
        ParcelArrays.read(open(), into);
    }

    /** Writes longs or null. */
    public void writeLongArray(long[] array) {
        ParcelArrays.write(open(), array);
    }

    /** Reads longs or null. */
    public long[] createLongArray() {
        return ParcelArrays.createLongs(open());
    }

    /** Reads as many longs as the array has. */
    public void readLongArray(long[] into) {
        ParcelArrays.read(open(), into);
    }

    /** Writes floats or null. */
    public void writeFloatArray(float[] array) {
        ParcelArrays.write(open(), array);
    }

    /** Reads floats or null. */
    public float[] createFloatArray() {
        return ParcelArrays.createFloats(open());
    }

    /** Reads as many floats as the array has. */
    public void readFloatArray(float[] into) {
        ParcelArrays.read(open(), into);
    }

    /** Writes doubles or null. */
    public void writeDoubleArray(double[] array) {
        ParcelArrays.write(open(), array);
    }

    /** Reads doubles or null. */
    public double[] createDoubleArray() {
        return ParcelArrays.createDoubles(open());
    }

    /** Reads as many doubles as the array has. */
    public void readDoubleArray(double[] into) {
        ParcelArrays.read(open(), into);
    }

    // ---- arrays and lists of strings

    /** Writes strings, each of which may be null, or null. */
    public void writeStringArray(String[] array) {
        writeStringList(array == null ? null : Arrays.asList(array));
    }

    /** Reads strings or null. */
    public String[] createStringArray() {
        ArrayList<String> list = createStringArrayList();
        return list == null ? null : list.toArray(new String[0]);
    }

    /** Reads as many strings as the array has. */
    public void readStringArray(String[] into) {
        ParcelLists.read(open(), 4, into, this::readString);
    }

    /** Writes strings as an array, or null. */
    public void writeStringList(List<String> list) {
        ParcelLists.write(open(), list, this::writeString);
    }

    /** Reads an array of strings or null. */
    public ArrayList<String> createStringArrayList() {
        return ParcelLists.create(open(), 4, this::readString);
    }

    /** Reads an array of strings into a list, which holds nothing else afterwards. A null array is an empty one. */
    public void readStringList(List<String> list) {
        ParcelLists.replace(list, createStringArrayList());
    }

    // ---- binders and descriptors

    /** Writes a binder or null. */
    public void writeStrongBinder(IBinder binder) {
        ParcelBuffer to = open();
        if (binder == null) {
            to.writeLong(0);
        } else {
            addObject(to, binder);
        }
    }

    /** Writes the binder behind an interface, or null. */
    public void writeStrongInterface(IInterface value) {
        writeStrongBinder(value == null ? null : value.asBinder());
    }

    /** Reads a binder or null. One that this process has made is the object itself; else the same binder is the same proxy. */
    public IBinder readStrongBinder() {
        ParcelBuffer from = open();
        int start = startOfObject(from);
        long received = from.objects == null ? 0 : from.objects.received();
        if (received != 0) {
            int[] end = new int[1];
            IBinder binder = ReceivedParcel.readStrongBinder(received, start, end);
            from.position = end[0];
            Reference.reachabilityFence(this);
            return binder;
        }
        Object object = from.objects == null ? null : from.objects.at(start);
        if (object instanceof IBinder) {
            from.position = start + ParcelObjects.BINDER_SIZE;
            return (IBinder) object;
        }
        if (object != null || from.peekLong() != 0) {
            throw new BadParcelableException("there is no binder at " + start);
        }
        from.position = start + ParcelObjects.NULL_BINDER_SIZE;
        return null;
    }

    /** Where the next object is, which has at least 8 bytes. */
    private static int startOfObject(ParcelBuffer from) {
        from.peekLong();
        return from.position;
    }

    private void addObject(ParcelBuffer to, Object object) {
        ParcelObjects objects = objects(to);
        to.whole(() -> {
            int start = to.claim(ParcelObjects.size(object));
            Arrays.fill(to.bytes, start, start + ParcelObjects.size(object), (byte) 0);
            objects.add(start, object);
        });
        Reference.reachabilityFence(this);
    }

    /** Writes binders, each of which may be null, or null. */
    public void writeBinderArray(IBinder[] array) {
        writeBinderList(array == null ? null : Arrays.asList(array));
    }

    /** Reads binders or null. */
    public IBinder[] createBinderArray() {
        ArrayList<IBinder> list = createBinderArrayList();
        return list == null ? null : list.toArray(new IBinder[0]);
    }

    /** Reads as many binders as the array has. */
    public void readBinderArray(IBinder[] into) {
        ParcelLists.read(open(), ParcelObjects.NULL_BINDER_SIZE, into, this::readStrongBinder);
    }

    /** Writes binders as an array, or null. */
    public void writeBinderList(List<IBinder> list) {
        ParcelLists.write(open(), list, this::writeStrongBinder);
    }

    /** Reads an array of binders or null. */
    public ArrayList<IBinder> createBinderArrayList() {
        return ParcelLists.create(open(), ParcelObjects.NULL_BINDER_SIZE, this::readStrongBinder);
    }

    /** Reads an array of binders into a list, which holds nothing else afterwards. A null array is an empty one. */
    public void readBinderList(List<IBinder> list) {
        ParcelLists.replace(list, createBinderArrayList());
    }

    /**
     * Writes a duplicate of a descriptor.
     *
     * @throws IllegalArgumentException if it is closed
     */
    public void writeFileDescriptor(FileDescriptor descriptor) {
        ParcelBuffer to = open();
        FileDescriptor duplicate = ParcelObjects.duplicate(descriptor);
        try {
            addObject(to, duplicate);
        } catch (RuntimeException | OutOfMemoryError exception) {
            ParcelObjects.close(duplicate);
            throw exception;
        }
    }

    /** Reads a descriptor, which is the caller's. One that came from another process can be read once. */
    public ParcelFileDescriptor readFileDescriptor() {
        return new ParcelFileDescriptor(readRawFileDescriptor());
    }

    /** As {@link #readFileDescriptor()}. */
    FileDescriptor readRawFileDescriptor() {
        ParcelBuffer from = open();
        int start = startOfObject(from);
        long received = from.objects == null ? 0 : from.objects.received();
        if (received != 0) {
            int[] end = new int[1];
            FileDescriptor descriptor = ReceivedParcel.readFileDescriptor(received, start, end);
            from.position = end[0];
            Reference.reachabilityFence(this);
            return descriptor;
        }
        Object object = from.objects == null ? null : from.objects.at(start);
        if (!(object instanceof FileDescriptor)) {
            throw new BadParcelableException("there is no descriptor at " + start);
        }
        FileDescriptor duplicate = ParcelObjects.duplicate((FileDescriptor) object);
        from.position = start + ParcelObjects.DESCRIPTOR_SIZE;
        return duplicate;
    }

    // ---- parcelables

    /** Writes a parcelable or null, without its class. */
    public <T extends Parcelable> void writeTypedObject(T value, int flags) {
        if (value == null) {
            writeInt(0);
        } else {
            whole(() -> {
                writeInt(1);
                value.writeToParcel(this, flags);
            });
        }
    }

    /** Reads a parcelable or null that {@link #writeTypedObject} has written. */
    public <T> T readTypedObject(Parcelable.Creator<T> creator) {
        return ParcelLists.readTyped(this, open(), creator);
    }

    /** Writes parcelables of one class, each of which may be null, or null. */
    public <T extends Parcelable> void writeTypedArray(T[] array, int flags) {
        writeTypedList(array == null ? null : Arrays.asList(array), flags);
    }

    /** Reads parcelables or null that {@link #writeTypedArray} or {@link #writeTypedList} has written. */
    public <T> T[] createTypedArray(Parcelable.Creator<T> creator) {
        ArrayList<T> list = createTypedArrayList(creator);
        return list == null ? null : list.toArray(creator.newArray(list.size()));
    }

    /** Reads as many parcelables as the array has. */
    public <T> void readTypedArray(T[] into, Parcelable.Creator<T> creator) {
        ParcelLists.read(open(), 4, into, () -> readTypedObject(creator));
    }

    /** As {@link #writeTypedList(List, int)} with 0. */
    public <T extends Parcelable> void writeTypedList(List<T> list) {
        writeTypedList(list, 0);
    }

    /** Writes parcelables of one class as an array, or null. */
    public <T extends Parcelable> void writeTypedList(List<T> list, int flags) {
        ParcelLists.write(open(), list, (T element) -> writeTypedObject(element, flags));
    }

    /** Reads parcelables or null that {@link #writeTypedArray} or {@link #writeTypedList} has written. */
    public <T> ArrayList<T> createTypedArrayList(Parcelable.Creator<T> creator) {
        return ParcelLists.create(open(), 4, () -> readTypedObject(creator));
    }

    /** Reads parcelables into a list, which holds nothing else afterwards. A null array is an empty one. */
    public <T> void readTypedList(List<T> list, Parcelable.Creator<T> creator) {
        ParcelLists.replace(list, createTypedArrayList(creator));
    }

    /** Writes the name of a parcelable's class and the parcelable, or null. The reader has to have the class. */
    public void writeParcelable(Parcelable value, int flags) {
        if (value == null) {
            writeString(null);
        } else {
            whole(() -> {
                writeParcelableCreator(value);
                value.writeToParcel(this, flags);
            });
        }
    }

    /** Writes the name of a parcelable's class. */
    public void writeParcelableCreator(Parcelable value) {
        writeString(value.getClass().getName());
    }

    /** As {@link #readParcelable(ClassLoader, Class)} for any class that the other side names and the loader has. */
    @SuppressWarnings("unchecked")
    public <T extends Parcelable> T readParcelable(ClassLoader loader) {
        return (T) ParcelLists.readNamed(this, open(), loader, Parcelable.class);
    }

    /**
     * Reads a parcelable or null that {@link #writeParcelable} has written.
     *
     * @param loader has the class; null is the loader of this one
     * @param type what the class has to be or to extend
     * @throws BadParcelableException if there is no such class, or it has no {@code CREATOR}
     */
    public <T> T readParcelable(ClassLoader loader, Class<T> type) {
        return ParcelLists.readNamed(this, open(), loader, type);
    }

    /** Reads the name of a parcelable's class, and gives its {@code CREATOR}; null if the name is. */
    public <T> Parcelable.Creator<T> readParcelableCreator(ClassLoader loader, Class<T> type) {
        return ParcelLists.readCreator(open(), loader, type);
    }

    /** Writes parcelables with the names of their classes, or null. */
    public <T extends Parcelable> void writeParcelableArray(T[] array, int flags) {
        writeParcelableList(array == null ? null : Arrays.asList(array), flags);
    }

    /** Reads parcelables or null that {@link #writeParcelableArray} or {@link #writeParcelableList} has written. */
    @SuppressWarnings("unchecked")
    public <T> T[] readParcelableArray(ClassLoader loader, Class<T> type) {
        ArrayList<T> list = ParcelLists.create(open(), 4, () -> readParcelable(loader, type));
        return list == null ? null : list.toArray((T[]) Array.newInstance(type, list.size()));
    }

    /** Writes parcelables with the names of their classes as an array, or null. */
    public <T extends Parcelable> void writeParcelableList(List<T> list, int flags) {
        ParcelLists.write(open(), list, (T element) -> writeParcelable(element, flags));
    }

    /** Reads parcelables into a list, which holds nothing else afterwards. A null array is an empty one. */
    public <T> List<T> readParcelableList(List<T> list, ClassLoader loader, Class<? extends T> type) {
        ArrayList<T> elements = ParcelLists.create(open(), 4, () -> readParcelable(loader, type));
        ParcelLists.replace(list, elements);
        return list;
    }

    /** Begins to read what a parcelable holds. Every one of them ends with {@link #leave()}. */
    void enter() {
        if (depth >= MAX_DEPTH) {
            throw new BadParcelableException("parcelables are more than " + MAX_DEPTH + " deep within each other");
        }
        depth++;
    }

    void leave() {
        depth--;
    }
}
