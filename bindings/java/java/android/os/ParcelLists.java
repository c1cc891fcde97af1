package android.os;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.Supplier;

/** Several objects in a {@link Parcel}, and parcelables. A read or a write that fails leaves the position where it was. */
final class ParcelLists {
    private static final int MAX_FIRST_CAPACITY = 64;

    private ParcelLists() {}

    // ---- lists of anything: the length, -1 for null, and the elements

    static <T> void write(ParcelBuffer to, List<? extends T> list, Consumer<T> writer) {
        if (list == null) {
            to.writeInt(-1);
            return;
        }
        to.whole(() -> {
            to.writeInt(list.size());
            for (T element : list) {
                writer.accept(element);
            }
        });
    }

    /** @param elementSize the least that an element has */
    static <T> ArrayList<T> create(ParcelBuffer from, int elementSize, Supplier<? extends T> reader) {
        int start = from.position;
        try {
            int length = from.readLength(elementSize);
            if (length < 0) {
                return null;
            }
            // Lists within lists may all claim the same bytes.
            ArrayList<T> list = new ArrayList<>(Math.min(length, MAX_FIRST_CAPACITY));
            for (int index = 0; index < length; index++) {
                list.add(reader.get());
            }
            return list;
        } catch (RuntimeException exception) {
            from.position = start;
            throw exception;
        }
    }

    /** Reads as many elements as the array has. */
    static <T> void read(ParcelBuffer from, int elementSize, T[] into, Supplier<? extends T> reader) {
        int start = from.position;
        try {
            from.readLength(into.length, elementSize);
            for (int index = 0; index < into.length; index++) {
                into[index] = reader.get();
            }
        } catch (RuntimeException exception) {
            from.position = start;
            throw exception;
        }
    }

    /** Makes a list hold these elements, or none if they are null. */
    static <T> void replace(List<T> list, List<? extends T> elements) {
        list.clear();
        if (elements != null) {
            list.addAll(elements);
        }
    }

    // ---- parcelables

    /** 0, or 1 and what the parcelable has written. */
    static <T> T readTyped(Parcel parcel, ParcelBuffer from, Parcelable.Creator<T> creator) {
        int start = from.position;
        parcel.enter();
        try {
            int present = from.readInt();
            if (present != 0 && present != 1) {
                throw new BadParcelableException("there is no parcelable at " + start + ", but " + present);
            }
            return present == 0 ? null : creator.createFromParcel(parcel);
        } catch (RuntimeException exception) {
            from.position = start;
            throw exception;
        } finally {
            parcel.leave();
        }
    }

    /** The name of a class or null, and what the parcelable has written. */
    static <T> T readNamed(Parcel parcel, ParcelBuffer from, ClassLoader loader, Class<T> type) {
        int start = from.position;
        parcel.enter();
        try {
            Parcelable.Creator<T> creator = readCreator(from, loader, type);
            if (creator == null) {
                return null;
            }
            Object read = creator instanceof Parcelable.ClassLoaderCreator
                    ? ((Parcelable.ClassLoaderCreator<T>) creator).createFromParcel(parcel, loader)
                    : creator.createFromParcel(parcel);
            if (read != null && !type.isInstance(read)) {
                throw new BadParcelableException("a CREATOR has made a " + read.getClass().getName());
            }
            return type.cast(read);
        } catch (RuntimeException exception) {
            from.position = start;
            throw exception;
        } finally {
            parcel.leave();
        }
    }

    @SuppressWarnings("unchecked")
    static <T> Parcelable.Creator<T> readCreator(ParcelBuffer from, ClassLoader loader, Class<T> type) {
        int start = from.position;
        try {
            String name = from.readString16();
            return name == null ? null : (Parcelable.Creator<T>) ParcelCreators.find(name, loader, type);
        } catch (RuntimeException exception) {
            from.position = start;
            throw exception;
        }
    }
}
