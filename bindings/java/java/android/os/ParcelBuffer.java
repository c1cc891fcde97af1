package android.os;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;

/**
 * The bytes of a {@link Parcel}: little-endian, every value padded to 4 bytes. What cannot be read throws before anything is
 * allocated for it, and leaves the position where it was.
 */
final class ParcelBuffer {
    /** The most bytes that a parcel holds: the largest array that every JVM has. */
    static final int MAX_SIZE = Integer.MAX_VALUE - 8;

    private static final VarHandle SHORT = MethodHandles.byteArrayViewVarHandle(short[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle INT = MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle LONG = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private static final byte[] EMPTY = {};
    private static final int FIRST_CAPACITY = 256;

    /** The bytes up to {@link #size}; what is behind them is room. */
    byte[] bytes = EMPTY;
    int size;
    int position;
    /** Whether the bytes may begin with an interface token. */
    boolean mayHaveToken;
    /** The objects among the bytes, or null. */
    ParcelObjects objects;

    // ---- room

    void reserve(int capacity) {
        if (capacity > bytes.length) {
            bytes = Arrays.copyOf(bytes, capacity);
        }
    }

    /** Takes {@code count} bytes and their padding for a write, and gives where they begin. */
    int claim(int count) {
        int start = position;
        claimTo(start + padded(count));
        return start;
    }

    /** Does several writes, or none of them: if one throws the position, the size and the objects are as before. */
    void whole(Runnable writes) {
        int start = position;
        int before = size;
        long added = objects == null ? 0 : objects.added();
        try {
            writes.run();
        } catch (RuntimeException | Error thrown) {
            if (objects != null) {
                objects.removeSince(added);
            }
            size = Math.min(size, before);
            position = start;
            throw thrown;
        }
    }

    private void claimTo(long end) {
        if (objects != null) {
            objects.requireWritable(position, end);
        }
        if (end > bytes.length || position > size) {
            grow(end);
        }
        position = (int) end;
        size = Math.max(size, position);
    }

    private void grow(long end) {
        if (end > MAX_SIZE) {
            throw new IllegalStateException("a parcel holds at most " + MAX_SIZE + " bytes");
        }
        if (end > bytes.length) {
            long capacity = Math.max(FIRST_CAPACITY, Math.max(end, bytes.length + (bytes.length >> 1)));
            bytes = Arrays.copyOf(bytes, (int) Math.min(capacity, MAX_SIZE));
        }
        if (position > size) {
            Arrays.fill(bytes, size, position, (byte) 0);
        }
    }

    /** Cuts bytes off, or appends zeros. The objects are the caller's matter. */
    void resize(int newSize) {
        reserve(newSize);
        if (newSize > size) {
            Arrays.fill(bytes, size, newSize, (byte) 0);
        }
        size = newSize;
        position = Math.min(position, newSize);
        mayHaveToken &= newSize > 0;
    }

    int available() {
        return Math.max(0, size - position);
    }

    /** Takes {@code count} bytes and their padding for a read, and gives where they begin. */
    private int take(int count) {
        int start = position;
        position = end(start, count);
        return start;
    }

    /** Where {@code count} bytes and their padding end, which begin at {@code start}. */
    private int end(int start, long count) {
        long end = start + padded(count);
        if (end > size) {
            throw new BadParcelableException(
                    "the parcel ends too early: " + count + " bytes at " + start + ", the size is " + size);
        }
        return (int) end;
    }

    private static long padded(long count) {
        return (count + 3) & ~3L;
    }

    // ---- scalars

    void writeInt(int value) {
        int at = claim(4);
        INT.set(bytes, at, value);
    }

    void writeLong(long value) {
        int at = claim(8);
        LONG.set(bytes, at, value);
    }

    int readInt() {
        return (int) INT.get(bytes, take(4));
    }

    long readLong() {
        return (long) LONG.get(bytes, take(8));
    }

    /** The next long, which stays to be read. */
    long peekLong() {
        return (long) LONG.get(bytes, end(position, 8) - 8);
    }

    private int peekInt() {
        return (int) INT.get(bytes, end(position, 4) - 4);
    }

    // ---- strings

    /** The length in UTF-16 units, the units, a zero unit. */
    void writeString16(String text) {
        if (text == null) {
            writeInt(-1);
            return;
        }
        int length = text.length();
        int at = claimArray(length, 2L * length + 2);
        byte[] to = bytes;
        clearLastWord();
        for (int index = 0; index < length; index++) {
            SHORT.set(to, at + 2 * index, (short) text.charAt(index));
        }
    }

    String readString16() {
        int length = peekInt();
        if (length == -1) {
            position += 4;
            return null;
        }
        int at = string16();
        char[] units = new char[length];
        byte[] from = bytes;
        for (int index = 0; index < length; index++) {
            units[index] = (char) (short) SHORT.get(from, at + 2 * index);
        }
        return new String(units);
    }

    /** Reads a string if it is this one; else leaves the position where it is. */
    boolean skipString16(String expected) {
        int start = position;
        int length = peekInt();
        if (length != expected.length()) {
            return false;
        }
        int at = string16();
        for (int index = 0; index < length; index++) {
            if ((char) (short) SHORT.get(bytes, at + 2 * index) != expected.charAt(index)) {
                position = start;
                return false;
            }
        }
        return true;
    }

    /** Takes a string that is not null, and gives where its units begin. */
    private int string16() {
        int length = peekInt();
        if (length < 0) {
            throw badLength(length);
        }
        int start = position + 4;
        int end = end(start, 2L * length + 2);
        if ((short) SHORT.get(bytes, start + 2 * length) != 0) {
            throw new BadParcelableException("the string at " + position + " has no end");
        }
        position = end;
        return start;
    }

    // ---- arrays

    /** Writes a length, and takes {@code count} bytes and their padding for what follows. */
    private int claimArray(int length, long count) {
        // Both at once, so that nothing is written when there is no room.
        if (count > MAX_SIZE) {
            throw new IllegalStateException("a parcel holds at most " + MAX_SIZE + " bytes");
        }
        int start = claim((int) count + 4);
        INT.set(bytes, start, length);
        return start + 4;
    }

    /** Zeros where padding will be. */
    private void clearLastWord() {
        INT.set(bytes, position - 4, 0);
    }

    /** Reads the length of an array, with at least {@code elementSize} bytes for each element behind it; -1 is a null array. */
    int readLength(int elementSize) {
        int length = peekInt();
        if (length < -1) {
            throw badLength(length);
        }
        if (length > 0) {
            end(position + 4, (long) length * elementSize);
        }
        position += 4;
        return length;
    }

    /** Reads the length of an array that has to be this one. */
    void readLength(int expected, int elementSize) {
        int start = position;
        int length = readLength(elementSize);
        if (length != expected) {
            position = start;
            throw new BadParcelableException("the array at " + start + " has " + length + " elements, not " + expected);
        }
    }

    private BadParcelableException badLength(int length) {
        return new BadParcelableException("the length at " + position + " is " + length);
    }

    /** Writes an array of bytes. */
    void writeBytes(byte[] array, int offset, int length) {
        int at = claimArray(length, length);
        if (length > 0) {
            clearLastWord();
            System.arraycopy(array, offset, bytes, at, length);
        }
    }

    /** Takes the bytes of an array whose length was read. */
    void readBytes(byte[] into) {
        System.arraycopy(bytes, take(into.length), into, 0, into.length);
    }

    /** Writes a length, and takes room for elements of 4 or 8 bytes. */
    ByteBuffer putArray(int length, int elementSize) {
        long count = (long) length * elementSize;
        int at = claimArray(length, count);
        return view(at, (int) count);
    }

    /** Takes the elements of an array whose length was read. */
    ByteBuffer getArray(int length, int elementSize) {
        int count = length * elementSize;
        return view(take(count), count);
    }

    private ByteBuffer view(int at, int count) {
        return ByteBuffer.wrap(bytes, at, count).order(ByteOrder.LITTLE_ENDIAN);
    }

    // ---- raw bytes

    /** Copies bytes to the position, without a length. */
    void append(byte[] from, int offset, int length) {
        int start = position;
        claimTo((long) start + length);
        System.arraycopy(from, offset, bytes, start, length);
        mayHaveToken |= start == 0 && length > 0;
    }
}
