package ashmem.test;

import static ashmem.test.Assert.assertEquals;
import static ashmem.test.Assert.assertSame;
import static ashmem.test.Assert.assertThrows;
import static ashmem.test.Assert.assertTrue;

import android.os.BadParcelableException;
import android.os.Parcel;
import android.os.Parcelable;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Parcelables, with and without the names of their classes. */
public final class ParcelParcelableTest {
    private final Parcel parcel = Parcel.obtain();

    /** What the tests' parcelables have in common. */
    public abstract static class Nothing implements Parcelable {
        @Override
        public int describeContents() {
            return 0;
        }

        @Override
        public void writeToParcel(Parcel dest, int flags) {}
    }

    /** Makes no object. */
    public static class CreatorOf<T> implements Parcelable.Creator<T> {
        @Override
        public T createFromParcel(Parcel source) {
            throw new AssertionError("called");
        }

        @Override
        public T[] newArray(int size) {
            throw new AssertionError("called");
        }
    }

    /** A number, and the flags it was written with. */
    public static final class Number extends Nothing {
        public static final Parcelable.Creator<Number> CREATOR = new Parcelable.Creator<>() {
            @Override
            public Number createFromParcel(Parcel source) {
                return new Number(source.readInt(), source.readInt());
            }

            @Override
            public Number[] newArray(int size) {
                return new Number[size];
            }
        };

        final int value;
        final int flags;

        Number(int value, int flags) {
            this.value = value;
            this.flags = flags;
        }

        @Override
        public void writeToParcel(Parcel dest, int flags) {
            dest.writeInt(value);
            dest.writeInt(flags);
        }
    }

    /** Holds one of itself, or null. */
    public static final class Nested extends Nothing {
        public static final Parcelable.Creator<Nested> CREATOR = new Parcelable.Creator<>() {
            @Override
            public Nested createFromParcel(Parcel source) {
                return new Nested(source.readTypedObject(this));
            }

            @Override
            public Nested[] newArray(int size) {
                return new Nested[size];
            }
        };

        final Nested inner;

        Nested(Nested inner) {
            this.inner = inner;
        }

        @Override
        public void writeToParcel(Parcel dest, int flags) {
            dest.writeTypedObject(inner, flags);
        }
    }

    /** Knows the loader it was read with. */
    public static final class Loaded extends Nothing {
        public static final Parcelable.ClassLoaderCreator<Loaded> CREATOR = new Parcelable.ClassLoaderCreator<>() {
            @Override
            public Loaded createFromParcel(Parcel source) {
                throw new AssertionError("called");
            }

            @Override
            public Loaded createFromParcel(Parcel source, ClassLoader loader) {
                return new Loaded(loader);
            }

            @Override
            public Loaded[] newArray(int size) {
                return new Loaded[size];
            }
        };

        final ClassLoader loader;

        Loaded(ClassLoader loader) {
            this.loader = loader;
        }
    }

    /** Fails when it is read. */
    public static final class Failing extends Nothing {
        public static final Parcelable.Creator<Failing> CREATOR = new CreatorOf<>() {
            @Override
            public Failing createFromParcel(Parcel source) {
                source.readInt();
                throw new ArithmeticException("own");
            }
        };

        @Override
        public void writeToParcel(Parcel dest, int flags) {
            dest.writeInt(1);
        }
    }

    /** Has no creator. */
    public static final class Without extends Nothing {}

    /** Has one that is not public. */
    public static final class Hidden extends Nothing {
        static final Parcelable.Creator<Hidden> CREATOR = new CreatorOf<>();
    }

    /** Has one that is not static. */
    public static final class OfObject extends Nothing {
        public final Parcelable.Creator<OfObject> CREATOR = new CreatorOf<>();
    }

    /** Has one of another type. */
    public static final class OfOtherType extends Nothing {
        public static final String CREATOR = "creator";
    }

    /** Has null. */
    public static final class OfNull extends Nothing {
        public static final Parcelable.Creator<OfNull> CREATOR = null;
    }

    /** Makes another class's objects. */
    public static final class OfOthers extends Nothing {
        public static final Parcelable.Creator<Number> CREATOR = Number.CREATOR;

        @Override
        public void writeToParcel(Parcel dest, int flags) {
            dest.writeLong(0);
        }
    }

    /** Cannot be initialized. */
    public static final class Broken extends Nothing {
        public static final Parcelable.Creator<Broken> CREATOR = broken();

        private static Parcelable.Creator<Broken> broken() {
            throw new IllegalStateException("broken");
        }
    }

    /** No parcelable: naming it runs none of its code. */
    public static final class Stranger {
        static {
            System.setProperty("ashmem.test.stranger", "initialized");
        }

        public static final Parcelable.Creator<Stranger> CREATOR = new CreatorOf<>();
    }

    /** A parcelable that was not asked for: naming it runs none of its code. */
    public static final class Unwanted extends Nothing {
        static {
            System.setProperty("ashmem.test.unwanted", "initialized");
        }

        public static final Parcelable.Creator<Unwanted> CREATOR = new CreatorOf<>();
    }

    @Test
    void typedObjects() {
        parcel.writeTypedObject(new Number(5, 0), Parcelable.PARCELABLE_WRITE_RETURN_VALUE);
        parcel.writeTypedObject((Number) null, 0);
        assertEquals(16, parcel.dataSize());
        parcel.setDataPosition(0);
        Number number = parcel.readTypedObject(Number.CREATOR);
        assertEquals(5, number.value);
        assertEquals(Parcelable.PARCELABLE_WRITE_RETURN_VALUE, number.flags);
        assertSame(null, parcel.readTypedObject(Number.CREATOR));
        // 0 and 1 it is.
        parcel.setDataPosition(0);
        parcel.writeInt(2);
        parcel.setDataPosition(0);
        assertThrows(BadParcelableException.class, () -> parcel.readTypedObject(Number.CREATOR));
        assertEquals(0, parcel.dataPosition());
    }

    @Test
    void typedArraysAndLists() {
        Number[] array = {new Number(1, 0), null, new Number(3, 0)};
        parcel.writeTypedArray(array, 0);
        parcel.writeTypedList(Arrays.asList(array));
        parcel.writeTypedArray((Number[]) null, 0);
        parcel.writeTypedList(new ArrayList<Number>());
        parcel.setDataPosition(0);
        Number[] read = parcel.createTypedArray(Number.CREATOR);
        assertEquals(3, read.length);
        assertEquals(1, read[0].value);
        assertSame(null, read[1]);
        assertEquals(3, parcel.createTypedArrayList(Number.CREATOR).size());
        assertSame(null, parcel.createTypedArray(Number.CREATOR));
        assertEquals(0, parcel.createTypedArrayList(Number.CREATOR).size());

        parcel.setDataPosition(0);
        Number[] into = new Number[3];
        parcel.readTypedArray(into, Number.CREATOR);
        assertEquals(3, into[2].value);
        List<Number> list = new ArrayList<>(List.of(new Number(9, 9)));
        parcel.readTypedList(list, Number.CREATOR);
        assertEquals(3, list.size());
        parcel.readTypedList(list, Number.CREATOR);
        assertEquals(0, list.size());
        parcel.setDataPosition(0);
        assertThrows(BadParcelableException.class, () -> parcel.readTypedArray(new Number[2], Number.CREATOR));
        assertEquals(0, parcel.dataPosition());
    }

    @Test
    void namedObjects() {
        parcel.writeParcelable(new Number(5, 0), 1);
        parcel.writeParcelable(null, 0);
        parcel.setDataPosition(0);
        Number number = parcel.readParcelable(getClass().getClassLoader());
        assertEquals(5, number.value);
        assertSame(null, parcel.readParcelable(null));
        parcel.setDataPosition(0);
        assertEquals("ashmem.test.ParcelParcelableTest$Number", parcel.readString());
        parcel.setDataPosition(0);
        assertEquals(5, parcel.readParcelable(null, Number.class).value);
        assertSame(null, parcel.readParcelable(null, Number.class));
        parcel.setDataPosition(0);
        assertSame(Number.CREATOR, parcel.readParcelableCreator(null, Number.class));
    }

    @Test
    void namedArraysAndLists() {
        Nothing[] array = {new Number(1, 0), null, new Loaded(null)};
        parcel.writeParcelableArray(array, 0);
        parcel.writeParcelableList(Arrays.asList(array), 0);
        parcel.writeParcelableArray((Nothing[]) null, 0);
        parcel.setDataPosition(0);
        Nothing[] read = parcel.readParcelableArray(null, Nothing.class);
        assertEquals(3, read.length);
        assertEquals(Loaded.class, read[2].getClass());
        List<Nothing> list = parcel.readParcelableList(new ArrayList<>(), null, Nothing.class);
        assertEquals(3, list.size());
        assertSame(null, parcel.readParcelableArray(null, Nothing.class));
        parcel.setDataPosition(0);
        assertThrows(BadParcelableException.class, () -> parcel.readParcelableArray(null, Number.class));
        assertEquals(0, parcel.dataPosition());
    }

    @Test
    void theLoaderIsPassedOn() {
        ClassLoader loader = new ClassLoader(getClass().getClassLoader()) {};
        parcel.writeParcelable(new Loaded(null), 0);
        parcel.setDataPosition(0);
        assertSame(loader, parcel.readParcelable(loader, Loaded.class).loader);
        parcel.setDataPosition(0);
        // One that does not have the class.
        assertThrows(BadParcelableException.class, () -> parcel.readParcelable(ClassLoader.getPlatformClassLoader()));
        assertEquals(0, parcel.dataPosition());
    }

    @Test
    void classesThatAreRefused() {
        String here = "ashmem.test.ParcelParcelableTest$";
        for (String name : new String[] {
            "", " ", "no.such.Class", "java.lang.String", "int", "[I", "[Lashmem.test.ParcelParcelableTest$Number;",
            "java/lang/String", "\ud800", "a".repeat(70000), here + "Without", here + "Hidden", here + "OfObject", here + "OfOtherType",
            here + "OfNull", here + "Broken", here + "Broken", here + "Stranger", here + "Nothing", "android.os.Parcelable",
        }) {
            Parcel named = Parcel.obtain();
            named.writeString(name);
            named.writeInt(0);
            named.setDataPosition(0);
            assertThrows(BadParcelableException.class, () -> named.readParcelable(null));
            assertEquals(0, named.dataPosition());
            named.recycle();
        }
        assertSame(null, System.getProperty("ashmem.test.stranger"));
        parcel.writeParcelable(new OfOthers(), 0);
        parcel.setDataPosition(0);
        assertThrows(BadParcelableException.class, () -> parcel.readParcelable(null, OfOthers.class));
        parcel.setDataSize(0);
        parcel.writeString(here + "Unwanted");
        parcel.setDataPosition(0);
        assertThrows(BadParcelableException.class, () -> parcel.readParcelable(null, Number.class));
        assertSame(null, System.getProperty("ashmem.test.unwanted"));
    }

    @Test
    void whatACreatorThrowsComesThrough() {
        parcel.writeInt(0);
        parcel.writeTypedObject(new Failing(), 0);
        parcel.writeParcelable(new Failing(), 0);
        parcel.setDataPosition(4);
        assertThrows(ArithmeticException.class, () -> parcel.readTypedObject(Failing.CREATOR));
        assertEquals(4, parcel.dataPosition());
        parcel.setDataPosition(12);
        assertThrows(ArithmeticException.class, () -> parcel.readParcelable(null));
        assertEquals(12, parcel.dataPosition());
    }

    @Test
    void depthIsBounded() {
        Nested nested = null;
        for (int depth = 0; depth < 199; depth++) {
            nested = new Nested(nested);
        }
        parcel.writeTypedObject(nested, 0);
        parcel.setDataPosition(0);
        int depth = 0;
        for (Nested read = parcel.readTypedObject(Nested.CREATOR); read != null; read = read.inner) {
            depth++;
        }
        assertEquals(199, depth);

        Parcel deep = Parcel.obtain();
        for (int index = 0; index < 1_000_000; index++) {
            deep.writeInt(1);
        }
        deep.setDataPosition(0);
        assertThrows(BadParcelableException.class, () -> deep.readTypedObject(Nested.CREATOR));
        assertEquals(0, deep.dataPosition());
        // And is as before afterwards.
        parcel.setDataPosition(0);
        assertTrue(parcel.readTypedObject(Nested.CREATOR) != null);
    }

    @Test
    void nestedListsOfHostileLengthAllocateLittle() {
        // Each of these claims all that is behind it.
        Parcel deep = Parcel.obtain();
        int size = 8 << 20;
        for (int depth = 0; depth < 199; depth++) {
            deep.writeInt((size - deep.dataPosition()) / 4 - 2);
            deep.writeInt(1);
        }
        deep.setDataSize(size);
        deep.setDataPosition(0);
        Parcelable.Creator<Object> creator = new CreatorOf<>() {
            @Override
            public Object createFromParcel(Parcel source) {
                return source.createTypedArrayList(this);
            }
        };
        assertThrows(BadParcelableException.class, () -> deep.createTypedArrayList(creator));
        assertEquals(0, deep.dataPosition());
    }
}
