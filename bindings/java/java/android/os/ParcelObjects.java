package android.os;

import android.system.ErrnoException;
import java.io.FileDescriptor;
import java.io.IOException;
import java.util.Arrays;

/**
 * The binders and descriptors of a {@link Parcel}, by position. Those of a parcel that was written here are kept in order; those
 * of a parcel that was received are with Binder, where they are found by position when they are read.
 *
 * <p>A parcel that nobody recycles has this run by a cleaner.
 */
final class ParcelObjects implements Runnable {
    /** As many bytes as a binder takes on the wire: a type, an address, its stability. */
    static final int BINDER_SIZE = 16;
    /** A null binder, which is no object but bytes: a type, its stability, both 0. */
    static final int NULL_BINDER_SIZE = 8;
    /** A type, an index. */
    static final int DESCRIPTOR_SIZE = 8;

    private int[] positions = new int[4];
    /** {@link IBinder}s, {@link FileDescriptor}s of our own. */
    private Object[] objects = new Object[4];
    /** By position, too: how many were added before each. */
    private long[] ages = new long[4];
    private int count;
    private long added;
    /** Binder's number for the parcel that was received, or 0. */
    private long received;
    private boolean released;

    // ---- what was written here

    synchronized int count() {
        return count;
    }

    synchronized int position(int index) {
        return positions[index];
    }

    /** An {@link IBinder} or a {@link FileDescriptor}. */
    synchronized Object object(int index) {
        return objects[index];
    }

    synchronized int size(int index) {
        return size(objects[index]);
    }

    static int size(Object object) {
        return object instanceof IBinder ? BINDER_SIZE : DESCRIPTOR_SIZE;
    }

    /** Adds an object whose bytes are there. */
    synchronized void add(int position, Object object) {
        requireUnreleased();
        int index = count;
        while (index > 0 && positions[index - 1] > position) {
            index--;
        }
        if (count == positions.length) {
            // No field before all of them are there.
            int[] morePositions = Arrays.copyOf(positions, count * 2);
            Object[] moreObjects = Arrays.copyOf(objects, count * 2);
            ages = Arrays.copyOf(ages, count * 2);
            positions = morePositions;
            objects = moreObjects;
        }
        System.arraycopy(positions, index, positions, index + 1, count - index);
        System.arraycopy(objects, index, objects, index + 1, count - index);
        System.arraycopy(ages, index, ages, index + 1, count - index);
        positions[index] = position;
        objects[index] = object;
        ages[index] = added++;
        count++;
    }

    /** How many were added, ever. */
    synchronized long added() {
        return added;
    }

    /** Lets go of all that were added after so many. */
    synchronized void removeSince(long before) {
        int kept = 0;
        for (int index = 0; index < count; index++) {
            if (ages[index] >= before) {
                close(objects[index]);
            } else {
                positions[kept] = positions[index];
                objects[kept] = objects[index];
                ages[kept] = ages[index];
                kept++;
            }
        }
        Arrays.fill(objects, kept, count, null);
        count = kept;
    }

    /** The object at a position, an {@link IBinder} or a {@link FileDescriptor}; null if there is none. */
    synchronized Object at(int position) {
        requireUnreleased();
        int index = Arrays.binarySearch(positions, 0, count, position);
        return index < 0 ? null : objects[index];
    }

    private static Object copy(Object object) {
        return object instanceof FileDescriptor ? duplicate((FileDescriptor) object) : object;
    }

    /**
     * A descriptor of a parcel's own.
     *
     * @throws IllegalArgumentException if it is closed
     */
    static FileDescriptor duplicate(FileDescriptor descriptor) {
        try {
            return Descriptors.duplicate(descriptor);
        } catch (ErrnoException exception) {
            throw new IllegalArgumentException("the descriptor cannot be duplicated: " + exception.getMessage(), exception);
        }
    }

    /** The objects between two positions, copied and moved: what another parcel takes over. */
    synchronized ParcelObjects copyRange(int from, int to, int moveBy) {
        requireLocal();
        ParcelObjects copies = new ParcelObjects();
        try {
            for (int index = 0; index < count; index++) {
                int start = positions[index];
                int end = start + size(objects[index]);
                if (start >= from && end <= to) {
                    copies.add(start + moveBy, copy(objects[index]));
                } else if (start < to && end > from) {
                    throw new IllegalArgumentException("the object at " + start + " is only in part in " + from + " to " + to);
                }
            }
        } catch (RuntimeException exception) {
            copies.run();
            throw exception;
        }
        return copies;
    }

    /** Takes over the objects of a {@link #copyRange}. */
    synchronized void addAll(ParcelObjects copies) {
        for (int index = 0; index < copies.count; index++) {
            add(copies.positions[index], copies.objects[index]);
        }
    }

    /** Whether a descriptor is between two positions, at least in part. */
    synchronized boolean hasDescriptors(int from, int to) {
        requireLocal();
        for (int index = 0; index < count; index++) {
            int start = positions[index];
            if (objects[index] instanceof FileDescriptor && start < to && start + DESCRIPTOR_SIZE > from) {
                return true;
            }
        }
        return false;
    }

    /** That nothing is lost by a write from one position to another. */
    synchronized void requireWritable(int from, long to) {
        if (received != 0) {
            throw new IllegalStateException("a parcel that was received can only be read; setDataSize(0) empties it");
        }
        for (int index = count - 1; index >= 0 && positions[index] + BINDER_SIZE > from; index--) {
            if (positions[index] < to && positions[index] + size(objects[index]) > from) {
                throw new IllegalStateException("there is a binder or a descriptor at " + positions[index]);
            }
        }
    }

    /** That this parcel's objects are known, so that it can be sent or copied. */
    synchronized void requireLocal() {
        if (received != 0) {
            throw new IllegalStateException("a parcel that was received cannot be sent or copied: write its contents anew");
        }
    }

    /** Lets go of the objects that do not end before a size, and of a received parcel's when nothing is left. */
    synchronized void truncate(int size) {
        while (count > 0 && positions[count - 1] + size(objects[count - 1]) > size) {
            count--;
            close(objects[count]);
            objects[count] = null;
        }
        if (size == 0) {
            releaseReceived();
        }
    }

    // ---- what was received

    synchronized void receive(long handle) {
        if (released) {
            ReceivedParcel.release(handle);
        }
        requireUnreleased();
        truncate(0);
        received = handle;
    }

    /** Binder's number for the received parcel, or 0. */
    synchronized long received() {
        requireUnreleased();
        return received;
    }

    private void releaseReceived() {
        long handle = received;
        received = 0;
        if (handle != 0) {
            ReceivedParcel.release(handle);
        }
    }

    // ---- the end

    @Override
    public synchronized void run() {
        released = true;
        truncate(0);
    }

    private void requireUnreleased() {
        if (released) {
            throw new IllegalStateException("the parcel was recycled");
        }
    }

    static void close(Object object) {
        if (object instanceof FileDescriptor) {
            try {
                Descriptors.close((FileDescriptor) object);
            } catch (IOException exception) {
                // Nobody else has it.
            }
        }
    }
}
