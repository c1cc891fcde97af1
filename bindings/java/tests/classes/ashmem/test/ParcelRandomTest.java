package ashmem.test;

import static ashmem.test.Assert.assertEquals;

import android.os.BadParcelableException;
import android.os.Parcel;
import android.os.Parcelable;
import android.os.ServiceSpecificException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.function.BiConsumer;
import java.util.function.Function;

/** Random contents, read back; then the same with bytes changed. {@code -Dashmem.test.seed=N} repeats a run. */
final class ParcelRandomTest {
    private final long seed = Long.getLong("ashmem.test.seed", new Random().nextLong());
    private final Random random = new Random(seed);

    /** Something that can be written and read. */
    private static final class Kind<T> {
        final Function<Random, T> make;
        final BiConsumer<Parcel, T> write;
        final Function<Parcel, T> read;

        Kind(Function<Random, T> make, BiConsumer<Parcel, T> write, Function<Parcel, T> read) {
            this.make = make;
            this.write = write;
            this.read = read;
        }

        Written<T> write(Parcel to, Random random) {
            T value = make.apply(random);
            int start = to.dataPosition();
            write.accept(to, value);
            return new Written<>(this, value, start, to.dataPosition());
        }
    }

    /** A value, and where it is. */
    private static final class Written<T> {
        final Kind<T> kind;
        final T value;
        final int start;
        final int end;

        Written(Kind<T> kind, T value, int start, int end) {
            this.kind = kind;
            this.value = value;
            this.start = start;
            this.end = end;
        }

        void assertRead(Parcel from) {
            assertEquals(start, from.dataPosition());
            assertEquals(value, kind.read.apply(from));
            assertEquals(end, from.dataPosition());
        }
    }

    /** A string and a list of the same: a tree. */
    public static final class Tree implements Parcelable {
        public static final Parcelable.Creator<Tree> CREATOR = new Parcelable.Creator<>() {
            @Override
            public Tree createFromParcel(Parcel source) {
                return new Tree(source.readString(), source.createTypedArrayList(this));
            }

            @Override
            public Tree[] newArray(int size) {
                return new Tree[size];
            }
        };

        final String name;
        final List<Tree> children;

        Tree(String name, List<Tree> children) {
            this.name = name;
            this.children = children;
        }

        static Tree random(Random random, int depth) {
            List<Tree> children = random.nextInt(6) == 0 ? null : new ArrayList<>();
            for (int index = depth == 0 || children == null ? 0 : random.nextInt(4); index > 0; index--) {
                children.add(random.nextInt(5) == 0 ? null : random(random, depth - 1));
            }
            return new Tree(string(random), children);
        }

        @Override
        public int describeContents() {
            return 0;
        }

        @Override
        public void writeToParcel(Parcel dest, int flags) {
            dest.writeString(name);
            dest.writeTypedList(children, flags);
        }

        @Override
        public boolean equals(Object other) {
            return other instanceof Tree && toString().equals(other.toString());
        }

        @Override
        public int hashCode() {
            return toString().hashCode();
        }

        @Override
        public String toString() {
            return name + children;
        }
    }

    private static String string(Random random) {
        if (random.nextInt(8) == 0) {
            return null;
        }
        char[] units = new char[random.nextInt(20)];
        for (int index = 0; index < units.length; index++) {
            units[index] = (char) (random.nextBoolean() ? random.nextInt(128) : random.nextInt(0x10000));
        }
        return new String(units);
    }

    private static int length(Random random) {
        return random.nextInt(30) == 0 ? random.nextInt(3000) : random.nextInt(12);
    }

    private static byte[] bytes(Random random) {
        byte[] bytes = new byte[length(random)];
        random.nextBytes(bytes);
        return bytes;
    }

    private static boolean[] booleans(Random random) {
        boolean[] booleans = new boolean[length(random)];
        for (int index = 0; index < booleans.length; index++) {
            booleans[index] = random.nextBoolean();
        }
        return booleans;
    }

    private static float[] floats(Random random) {
        float[] floats = new float[length(random)];
        for (int index = 0; index < floats.length; index++) {
            floats[index] = random.nextFloat();
        }
        return floats;
    }

    private static <T> Function<Random, T> orNull(Function<Random, T> make) {
        return random -> random.nextInt(8) == 0 ? null : make.apply(random);
    }

    private static String[] strings(Random random) {
        String[] strings = new String[length(random)];
        Arrays.setAll(strings, index -> string(random));
        return strings;
    }

    private static final List<Kind<?>> KINDS = List.of(
            new Kind<>(Random::nextInt, Parcel::writeInt, Parcel::readInt),
            new Kind<>(Random::nextLong, Parcel::writeLong, Parcel::readLong),
            new Kind<>(Random::nextFloat, Parcel::writeFloat, Parcel::readFloat),
            new Kind<>(Random::nextDouble, Parcel::writeDouble, Parcel::readDouble),
            new Kind<>(Random::nextBoolean, Parcel::writeBoolean, Parcel::readBoolean),
            new Kind<>(random -> (byte) random.nextInt(), Parcel::writeByte, Parcel::readByte),
            new Kind<>(ParcelRandomTest::string, Parcel::writeString, Parcel::readString),
            new Kind<>(orNull(ParcelRandomTest::bytes), Parcel::writeByteArray, Parcel::createByteArray),
            new Kind<>(orNull(ParcelRandomTest::booleans), Parcel::writeBooleanArray, Parcel::createBooleanArray),
            new Kind<>(orNull(random -> random.ints(length(random)).toArray()), Parcel::writeIntArray, Parcel::createIntArray),
            new Kind<>(orNull(random -> random.longs(length(random)).toArray()), Parcel::writeLongArray, Parcel::createLongArray),
            new Kind<>(orNull(ParcelRandomTest::floats), Parcel::writeFloatArray, Parcel::createFloatArray),
            new Kind<>(orNull(random -> random.doubles(length(random)).toArray()), Parcel::writeDoubleArray,
                    Parcel::createDoubleArray),
            new Kind<>(orNull(random -> ("" + string(random)).toCharArray()), Parcel::writeCharArray, Parcel::createCharArray),
            new Kind<>(orNull(ParcelRandomTest::strings), Parcel::writeStringArray, Parcel::createStringArray),
            new Kind<Tree>(orNull(random -> Tree.random(random, 3)), (parcel, tree) -> parcel.writeTypedObject(tree, 0),
                    parcel -> parcel.readTypedObject(Tree.CREATOR)),
            new Kind<Tree>(orNull(random -> Tree.random(random, 3)), (parcel, tree) -> parcel.writeParcelable(tree, 0),
                    parcel -> parcel.readParcelable(null, Tree.class)),
            new Kind<>(random -> random.nextInt() + "," + string(random), ParcelRandomTest::writeException,
                    ParcelRandomTest::readException));

    private static void writeException(Parcel to, String text) {
        int comma = text.indexOf(',');
        to.writeException(new ServiceSpecificException(Integer.parseInt(text.substring(0, comma)), text.substring(comma + 1)));
    }

    private static String readException(Parcel from) {
        try {
            from.readException();
            return "none";
        } catch (ServiceSpecificException exception) {
            return exception.errorCode + "," + exception.getMessage();
        } catch (SecurityException | IllegalArgumentException | NullPointerException | IllegalStateException
                | UnsupportedOperationException exception) {
            return exception.toString();
        }
    }

    /** In the order of the parcel, with their positions. */
    private List<Written<?>> fill(Parcel parcel, int count) {
        List<Written<?>> written = new ArrayList<>();
        for (int index = 0; index < count; index++) {
            written.add(KINDS.get(random.nextInt(KINDS.size())).write(parcel, random));
        }
        return written;
    }

    @Test
    void readsWhatWasWritten() {
        System.out.println("seed " + seed);
        for (int round = 0; round < 300; round++) {
            Parcel parcel = Parcel.obtain();
            List<Written<?>> written = fill(parcel, random.nextInt(40));
            assertEquals(written.isEmpty() ? 0 : written.get(written.size() - 1).end, parcel.dataSize());
            parcel.setDataPosition(0);
            for (Written<?> value : written) {
                value.assertRead(parcel);
            }
            parcel.enforceNoDataAvail();
            // In any order, by position.
            for (int count = written.isEmpty() ? 0 : 10; count > 0; count--) {
                Written<?> value = written.get(random.nextInt(written.size()));
                parcel.setDataPosition(value.start);
                value.assertRead(parcel);
            }
            // A part of another parcel.
            if (!written.isEmpty()) {
                int first = random.nextInt(written.size());
                Parcel part = Parcel.obtain();
                part.appendFrom(parcel, written.get(first).start, parcel.dataSize() - written.get(first).start);
                part.setDataPosition(0);
                for (Written<?> value : written.subList(first, written.size())) {
                    assertEquals(value.value, value.kind.read.apply(part));
                }
                part.recycle();
            }
            parcel.recycle();
        }
    }

    @Test
    void changedBytesGiveDocumentedExceptions() {
        System.out.println("seed " + seed);
        for (int round = 0; round < 3000; round++) {
            Parcel parcel = Parcel.obtain();
            List<Written<?>> written = fill(parcel, 1 + random.nextInt(6));
            byte[] bytes = parcel.marshall();
            parcel.recycle();
            for (int flips = random.nextInt(6); flips > 0; flips--) {
                int at = random.nextInt(bytes.length);
                switch (random.nextInt(3)) {
                    case 0:
                        bytes[at] ^= (byte) (1 << random.nextInt(8));
                        break;
                    case 1:
                        bytes[at] = (byte) random.nextInt();
                        break;
                    default:
                        // A length, most likely.
                        bytes[at & ~3 | 3] = (byte) (random.nextBoolean() ? 0x7f : 0xff);
                }
            }
            Parcel changed = Parcel.obtain();
            changed.unmarshall(bytes, 0, random.nextInt(4) == 0 ? random.nextInt(bytes.length + 1) : bytes.length);
            changed.setDataPosition(0);
            for (Written<?> value : written) {
                // Every now and then as something else.
                Kind<?> kind = random.nextInt(4) == 0 ? KINDS.get(random.nextInt(KINDS.size())) : value.kind;
                int start = changed.dataPosition();
                try {
                    kind.read.apply(changed);
                } catch (BadParcelableException exception) {
                    // It may be the exception that was read.
                    if (changed.dataPosition() == start) {
                        break;
                    }
                } catch (RuntimeException exception) {
                    assertEquals(RuntimeException.class, exception.getClass());
                    assertEquals(true, exception.getMessage().contains("Unknown exception code")
                            || exception.getMessage().contains("missing Parcelable"));
                }
            }
            changed.recycle();
        }
    }
}
