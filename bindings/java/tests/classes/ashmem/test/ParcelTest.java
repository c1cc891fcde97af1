package ashmem.test;

import static ashmem.test.Assert.assertEquals;
import static ashmem.test.Assert.assertFalse;
import static ashmem.test.Assert.assertSame;
import static ashmem.test.Assert.assertThrows;
import static ashmem.test.Assert.assertTrue;

import android.os.BadParcelableException;
import android.os.Parcel;
import android.os.RemoteException;
import android.os.ServiceSpecificException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;

/** Values, bounds, and a parcel's life. */
final class ParcelTest {
    private final Parcel parcel = Parcel.obtain();

    private String hex() {
        return HexFormat.of().formatHex(parcel.marshall());
    }

    private static Parcel of(String hex) {
        byte[] bytes = HexFormat.of().parseHex(hex);
        Parcel parcel = Parcel.obtain();
        parcel.unmarshall(bytes, 0, bytes.length);
        parcel.setDataPosition(0);
        return parcel;
    }

    /** Throws, and the position stays. */
    private static void assertBad(String hex, Consumer<Parcel> read) {
        Parcel parcel = of(hex);
        assertThrows(BadParcelableException.class, () -> read.accept(parcel));
        assertEquals(0, parcel.dataPosition());
        // The same in the middle of a parcel.
        Parcel second = of("07000000" + hex);
        second.readInt();
        assertThrows(BadParcelableException.class, () -> read.accept(second));
        assertEquals(4, second.dataPosition());
        parcel.recycle();
        second.recycle();
    }

    @Test
    void scalars() {
        parcel.writeInt(-2);
        parcel.writeLong(0x0102030405060708L);
        parcel.writeFloat(1.5f);
        parcel.writeDouble(-0.0);
        parcel.writeBoolean(true);
        parcel.writeBoolean(false);
        parcel.writeByte((byte) -1);
        assertEquals("feffffff" + "0807060504030201" + "0000c03f" + "0000000000000080" + "01000000" + "00000000" + "ffffffff",
                hex());
        parcel.setDataPosition(0);
        assertEquals(-2, parcel.readInt());
        assertEquals(0x0102030405060708L, parcel.readLong());
        assertTrue(parcel.readFloat() == 1.5f);
        assertEquals(Double.doubleToRawLongBits(-0.0), Double.doubleToRawLongBits(parcel.readDouble()));
        assertTrue(parcel.readBoolean());
        assertFalse(parcel.readBoolean());
        assertEquals(-1, parcel.readByte());
        parcel.enforceNoDataAvail();
    }

    @Test
    void floatsKeepTheirBits() {
        int odd = 0x7fa00001;
        parcel.writeFloat(Float.intBitsToFloat(odd));
        parcel.writeFloatArray(new float[] {Float.intBitsToFloat(odd), -0.0f});
        parcel.writeDoubleArray(new double[] {Double.longBitsToDouble(0x7ff4000000000001L)});
        parcel.setDataPosition(0);
        assertEquals(odd, Float.floatToRawIntBits(parcel.readFloat()));
        assertEquals(odd, Float.floatToRawIntBits(parcel.createFloatArray()[0]));
        assertEquals(0x7ff4000000000001L, Double.doubleToRawLongBits(parcel.createDoubleArray()[0]));
    }

    @Test
    void strings() {
        String[] texts = {"", "a", "ab", "abc", "gr\u00fc\u00df", "\ud83d\ude00", "\ud83d alone", "\ude00",
            "\u0000 inside", null, "x".repeat(1000)};
        for (String text : texts) {
            parcel.writeString(text);
            assertEquals(0, parcel.dataSize() % 4);
        }
        parcel.setDataPosition(0);
        for (String text : texts) {
            assertEquals(text, parcel.readString());
        }
        assertEquals(0, parcel.dataAvail());
    }

    @Test
    void bytesOfStrings() {
        parcel.writeString("ab");
        parcel.writeString("");
        parcel.writeString(null);
        parcel.writeString("a");
        assertEquals("02000000" + "6100620000000000" + "00000000" + "00000000" + "ffffffff" + "01000000" + "61000000", hex());
    }

    @Test
    void arrays() {
        byte[] bytes = {1, 2, 3, 4, 5};
        boolean[] booleans = {true, false};
        char[] chars = {'a', '\uffff'};
        int[] ints = {1, -1, Integer.MIN_VALUE};
        long[] longs = {1, Long.MIN_VALUE};
        float[] floats = {1, Float.NaN};
        double[] doubles = {1, Double.NEGATIVE_INFINITY};
        String[] strings = {"a", null, ""};
        parcel.writeByteArray(bytes);
        parcel.writeByteArray(bytes, 1, 3);
        parcel.writeBooleanArray(booleans);
        parcel.writeCharArray(chars);
        parcel.writeIntArray(ints);
        parcel.writeLongArray(longs);
        parcel.writeFloatArray(floats);
        parcel.writeDoubleArray(doubles);
        parcel.writeStringArray(strings);
        parcel.writeStringList(Arrays.asList(strings));

        parcel.setDataPosition(0);
        assertEquals(bytes, parcel.createByteArray());
        assertEquals(new byte[] {2, 3, 4}, parcel.createByteArray());
        assertEquals(booleans, parcel.createBooleanArray());
        assertEquals(chars, parcel.createCharArray());
        assertEquals(ints, parcel.createIntArray());
        assertEquals(longs, parcel.createLongArray());
        assertEquals(floats, parcel.createFloatArray());
        assertEquals(doubles, parcel.createDoubleArray());
        assertEquals(strings, parcel.createStringArray());
        assertEquals(Arrays.asList(strings), parcel.createStringArrayList());
        parcel.enforceNoDataAvail();

        parcel.setDataPosition(0);
        byte[] intoBytes = new byte[5];
        parcel.readByteArray(intoBytes);
        assertEquals(bytes, intoBytes);
        parcel.readByteArray(new byte[3]);
        boolean[] intoBooleans = new boolean[2];
        parcel.readBooleanArray(intoBooleans);
        assertEquals(booleans, intoBooleans);
        char[] intoChars = new char[2];
        parcel.readCharArray(intoChars);
        assertEquals(chars, intoChars);
        int[] intoInts = new int[3];
        parcel.readIntArray(intoInts);
        assertEquals(ints, intoInts);
        long[] intoLongs = new long[2];
        parcel.readLongArray(intoLongs);
        assertEquals(longs, intoLongs);
        float[] intoFloats = new float[2];
        parcel.readFloatArray(intoFloats);
        assertEquals(floats, intoFloats);
        double[] intoDoubles = new double[2];
        parcel.readDoubleArray(intoDoubles);
        assertEquals(doubles, intoDoubles);
        String[] intoStrings = new String[3];
        parcel.readStringArray(intoStrings);
        assertEquals(strings, intoStrings);
        List<String> list = new ArrayList<>(List.of("old", "older", "oldest", "more"));
        parcel.readStringList(list);
        assertEquals(Arrays.asList(strings), list);
    }

    @Test
    void emptyAndNullArrays() {
        parcel.writeByteArray(null);
        parcel.writeByteArray(new byte[0]);
        parcel.writeIntArray(null);
        parcel.writeIntArray(new int[0]);
        parcel.writeStringArray(null);
        parcel.writeStringArray(new String[0]);
        parcel.writeCharArray(null);
        assertEquals("ffffffff00000000".repeat(3) + "ffffffff", hex());
        parcel.setDataPosition(0);
        assertSame(null, parcel.createByteArray());
        assertEquals(new byte[0], parcel.createByteArray());
        assertSame(null, parcel.createIntArray());
        assertEquals(new int[0], parcel.createIntArray());
        assertSame(null, parcel.createStringArrayList());
        assertEquals(new String[0], parcel.createStringArray());
        assertSame(null, parcel.createCharArray());
    }

    @Test
    void paddingIsZeroed() {
        parcel.writeLong(-1);
        parcel.writeLong(-1);
        parcel.setDataPosition(0);
        parcel.writeByteArray(new byte[] {1});
        parcel.writeString("ab");
        assertEquals("01000000" + "01000000" + "02000000" + "6100620000000000", hex());
        parcel.setDataSize(0);
        parcel.setDataPosition(8);
        parcel.writeInt(7);
        assertEquals("0000000000000000" + "07000000", hex());
        parcel.setDataSize(4);
        parcel.setDataSize(16);
        assertEquals("00".repeat(16), hex());
    }

    @Test
    void readsBeyondTheEnd() {
        for (String hex : new String[] {"", "000000", "ff"}) {
            assertBad(hex, Parcel::readInt);
            assertBad(hex, Parcel::readBoolean);
            assertBad(hex, Parcel::readByte);
            assertBad(hex, Parcel::readFloat);
            assertBad(hex, Parcel::readString);
            assertBad(hex, Parcel::createByteArray);
            assertBad(hex, Parcel::createStringArray);
            assertBad(hex, Parcel::readException);
            assertBad(hex, parcel -> parcel.enforceInterface("name"));
        }
        assertBad("00000000", Parcel::readLong);
        assertBad("00000000", Parcel::readDouble);
        parcel.setDataPosition(1 << 30);
        assertThrows(BadParcelableException.class, parcel::readInt);
        assertEquals(0, parcel.dataAvail());
        assertEquals(0, parcel.dataSize());
    }

    @Test
    void hostileLengths() {
        // Much more than the JVM has.
        for (String length : new String[] {"ffffff7f", "feffff7f", "00000040", "ffffff1f", "feffffff", "00000080", "05000000"}) {
            String hex = length + "0000000000000000";
            assertBad(hex, Parcel::readString);
            assertBad(hex, Parcel::createBooleanArray);
            assertBad(hex, Parcel::createCharArray);
            assertBad(hex, Parcel::createIntArray);
            assertBad(hex, Parcel::createLongArray);
            assertBad(hex, Parcel::createFloatArray);
            assertBad(hex, Parcel::createDoubleArray);
            assertBad(hex, Parcel::createStringArray);
            assertBad(hex, Parcel::createStringArrayList);
            assertBad(hex, Parcel::createBinderArray);
            assertBad(hex, parcel -> parcel.createTypedArrayList(null));
            assertBad(hex, parcel -> parcel.readParcelableArray(null, Object.class));
            assertBad(hex, parcel -> parcel.readIntArray(new int[2]));
            assertBad(hex, parcel -> parcel.readStringArray(new String[2]));
        }
        for (String length : new String[] {"ffffff7f", "00000040", "feffffff", "09000000"}) {
            assertBad(length + "0000000000000000", Parcel::createByteArray);
        }
        // Its padding is missing.
        assertBad("05000000" + "0102030405", Parcel::createByteArray);
        assertBad("02000000" + "610062000000", Parcel::readString);
    }

    @Test
    void stringWithoutAnEnd() {
        assertBad("01000000" + "61006200", Parcel::readString);
        assertBad("00000000" + "61000000", Parcel::readString);
    }

    @Test
    void arraysOfAnotherLength() {
        parcel.writeIntArray(new int[] {1, 2});
        parcel.writeStringArray(null);
        for (int length : new int[] {0, 1, 3}) {
            parcel.setDataPosition(0);
            assertThrows(BadParcelableException.class, () -> parcel.readIntArray(new int[length]));
            assertEquals(0, parcel.dataPosition());
        }
        parcel.setDataPosition(12);
        assertThrows(BadParcelableException.class, () -> parcel.readStringArray(new String[0]));
        assertEquals(12, parcel.dataPosition());
    }

    @Test
    void partsOfArraysHaveToBeThere() {
        byte[] bytes = new byte[4];
        int[][] parts = {{-1, 2}, {0, 5}, {4, 1}, {1, -1}, {Integer.MAX_VALUE, 2}, {2, Integer.MAX_VALUE}};
        for (int[] part : parts) {
            assertThrows(ArrayIndexOutOfBoundsException.class, () -> parcel.writeByteArray(bytes, part[0], part[1]));
            assertThrows(IndexOutOfBoundsException.class, () -> parcel.unmarshall(bytes, part[0], part[1]));
        }
        assertEquals(0, parcel.dataSize());
        parcel.writeByteArray(null, 7, -3);
        assertEquals("ffffffff", hex());
    }

    @Test
    void sizesAndPositions() {
        for (int bad : new int[] {-1, Integer.MIN_VALUE, Integer.MAX_VALUE}) {
            assertThrows(IllegalArgumentException.class, () -> parcel.setDataSize(bad));
            assertThrows(IllegalArgumentException.class, () -> parcel.setDataPosition(bad));
            assertThrows(IllegalArgumentException.class, () -> parcel.setDataCapacity(bad));
        }
        parcel.setDataCapacity(1000);
        assertEquals(1000, parcel.dataCapacity());
        assertEquals(0, parcel.dataSize());
        parcel.writeInt(1);
        parcel.writeInt(2);
        assertEquals(8, parcel.dataSize());
        assertEquals(8, parcel.dataPosition());
        parcel.setDataPosition(4);
        assertEquals(4, parcel.dataAvail());
        assertThrows(BadParcelableException.class, parcel::enforceNoDataAvail);
        parcel.setDataSize(2);
        assertEquals(2, parcel.dataPosition());
        assertEquals(0, parcel.dataAvail());
        // Any position will do, and what is read there is what is there.
        parcel.setDataPosition(1);
        parcel.writeInt(0x04030201);
        assertEquals("0101020304", hex());
    }

    @Test
    void noRoom() {
        parcel.writeInt(1);
        parcel.setDataPosition(Integer.MAX_VALUE - 8);
        assertThrows(IllegalStateException.class, () -> parcel.writeInt(1));
        assertThrows(IllegalStateException.class, () -> parcel.writeString("x"));
        assertThrows(IllegalStateException.class, () -> parcel.writeIntArray(new int[1]));
        assertEquals(Integer.MAX_VALUE - 8, parcel.dataPosition());
        assertEquals(4, parcel.dataSize());
        assertEquals("01000000", hex());
    }

    @Test
    void interfaceTokens() {
        parcel.writeInterfaceToken("shy.luo.ashmem.IMemoryService");
        parcel.writeInt(5);
        parcel.setDataPosition(0);
        parcel.enforceInterface("shy.luo.ashmem.IMemoryService");
        assertEquals(5, parcel.readInt());
        for (String other : new String[] {"", "shy.luo.ashmem.IMemoryServicf", "shy.luo.ashmem.IMemoryServiceX"}) {
            parcel.setDataPosition(0);
            SecurityException thrown = assertThrows(SecurityException.class, () -> parcel.enforceInterface(other));
            assertTrue(thrown.getMessage().startsWith("Binder invocation to an incorrect interface"));
            assertEquals(0, parcel.dataPosition());
        }
        // A null name, and one that has no end.
        assertThrows(SecurityException.class, () -> of("ffffffff").enforceInterface("a"));
        assertBad("01000000" + "61006200", parcel -> parcel.enforceInterface("a"));
        assertThrows(NullPointerException.class, () -> parcel.writeInterfaceToken(null));
    }

    @Test
    void exceptions() {
        RuntimeException[] exceptions = {
            new SecurityException("m"), new BadParcelableException("m"), new IllegalArgumentException("m"),
            new NullPointerException("m"), new IllegalStateException("m"), new UnsupportedOperationException("m"),
            new IllegalStateException((String) null), new SecurityException(""),
        };
        for (RuntimeException exception : exceptions) {
            parcel.setDataSize(0);
            parcel.writeException(exception);
            parcel.writeInt(77);
            parcel.setDataPosition(0);
            RuntimeException thrown = assertThrows(exception.getClass(), parcel::readException);
            assertEquals(exception.getMessage(), thrown.getMessage());
            assertEquals(77, parcel.readInt());
        }
        parcel.setDataSize(0);
        parcel.writeException(new ServiceSpecificException(-42, "mine"));
        parcel.setDataPosition(0);
        ServiceSpecificException specific = assertThrows(ServiceSpecificException.class, parcel::readException);
        assertEquals(-42, specific.errorCode);
        assertEquals("mine", specific.getMessage());
        assertEquals(0, parcel.dataAvail());
        parcel.setDataSize(0);
        parcel.writeException(new NumberFormatException("a subclass"));
        parcel.setDataPosition(0);
        assertThrows(IllegalArgumentException.class, parcel::readException);
    }

    @Test
    void noException() {
        parcel.writeNoException();
        assertEquals("00000000", hex());
        parcel.setDataPosition(0);
        parcel.readException();
        // Headers before it, and instead of it.
        for (String hex : new String[] {"81ffffff" + "08000000" + "aaaaaaaa" + "00000000", "80ffffff" + "04000000",
                "80ffffff" + "00000000", "81ffffff" + "04000000" + "80ffffff" + "0c000000" + "aaaaaaaabbbbbbbb"}) {
            Parcel with = of(hex);
            with.readException();
            assertEquals(0, with.dataAvail());
        }
    }

    @Test
    void exceptionsThatDoNotTravel() {
        RuntimeException own = new ArithmeticException("own");
        assertSame(own, assertThrows(ArithmeticException.class, () -> parcel.writeException(own)));
        IOException checked = new IOException("checked");
        assertSame(checked, assertThrows(RuntimeException.class, () -> parcel.writeException(checked)).getCause());
        assertThrows(NullPointerException.class, () -> parcel.writeException(null));
        assertEquals(0, parcel.dataSize());
    }

    @Test
    void exceptionsOfOthers() {
        String message = "01000000" + "6d000000";
        RuntimeException unknown =
                assertThrows(RuntimeException.class, () -> of("7fffffff" + message + "00000000").readException());
        assertEquals("Unknown exception code: -129 msg m", unknown.getMessage());
        RuntimeException parcelable =
                assertThrows(RuntimeException.class, () -> of("f7ffffff" + message + "00000000" + "00000000").readException());
        assertEquals("m [missing Parcelable]", parcelable.getMessage());
        String trace = "10000000" + "02000000" + "7400720000000000";
        SecurityException traced =
                assertThrows(SecurityException.class, () -> of("ffffffff" + message + trace).readException());
        assertEquals(RemoteException.class, traced.getCause().getClass());
        assertEquals("Remote stack trace:\ntr", traced.getCause().getMessage());
    }

    @Test
    void malformedExceptions() {
        String message = "01000000" + "6d000000";
        for (String hex : new String[] {
            "ffffffff", "ffffffff" + "05000000", "ffffffff" + message, "ffffffff" + message + "05000000",
            "ffffffff" + message + "ffffffff", "ffffffff" + message + "00000080" + "00000000",
            // A trace that is longer than its header says.
            "ffffffff" + message + "08000000" + "02000000" + "7400720000000000",
            // No number of the service's own; no end of the parcelable.
            "f8ffffff" + message + "00000000", "f7ffffff" + message + "00000000" + "08000000",
            "81ffffff" + "ffffff7f" + "00000000", "80ffffff" + "ffffffff", "80ffffff", "81ffffff" + "04000000",
        }) {
            assertBad(hex, Parcel::readException);
        }
    }

    @Test
    void marshalled() {
        parcel.writeString("text");
        byte[] bytes = parcel.marshall();
        byte[] within = new byte[bytes.length + 3];
        System.arraycopy(bytes, 0, within, 2, bytes.length);
        Parcel copy = Parcel.obtain();
        copy.writeLong(1);
        copy.unmarshall(within, 2, bytes.length);
        assertEquals(bytes.length, copy.dataSize());
        assertEquals(bytes.length, copy.dataPosition());
        copy.setDataPosition(0);
        assertEquals("text", copy.readString());
    }

    @Test
    void appended() {
        Parcel source = Parcel.obtain();
        source.writeInt(1);
        source.writeInt(2);
        source.writeInt(3);
        parcel.writeInt(9);
        parcel.appendFrom(source, 4, 8);
        assertEquals("090000000200000003000000", hex());
        assertEquals(12, parcel.dataPosition());
        parcel.appendFrom(parcel, 0, 12);
        assertEquals("090000000200000003000000".repeat(2), hex());
        for (int[] range : new int[][] {{-4, 4}, {0, 13}, {12, 4}, {4, -4}, {4, Integer.MAX_VALUE}}) {
            assertThrows(IndexOutOfBoundsException.class, () -> parcel.appendFrom(source, range[0], range[1]));
        }
        assertEquals(24, parcel.dataSize());
    }

    @Test
    void useAfterRecycle() {
        parcel.writeInt(1);
        parcel.recycle();
        Parcel other = Parcel.obtain();
        other.writeInt(2);
        List<Assert.Action> uses = List.of(parcel::recycle, parcel::dataSize, parcel::dataPosition, parcel::dataAvail,
                parcel::dataCapacity, () -> parcel.setDataSize(0), () -> parcel.setDataPosition(0),
                () -> parcel.setDataCapacity(0), parcel::readInt, () -> parcel.writeInt(1), parcel::readString,
                () -> parcel.writeString("a"), parcel::createByteArray, () -> parcel.writeByteArray(null), parcel::marshall,
                () -> parcel.unmarshall(new byte[0], 0, 0), () -> parcel.appendFrom(other, 0, 4), parcel::hasFileDescriptors,
                () -> other.appendFrom(parcel, 0, 4), parcel::readStrongBinder, () -> parcel.writeStrongBinder(null),
                parcel::readFileDescriptor, parcel::readException, () -> parcel.writeNoException(),
                () -> parcel.writeTypedObject(null, 0), () -> parcel.readParcelable(null));
        for (Assert.Action use : uses) {
            assertThrows(IllegalStateException.class, use);
        }
        assertEquals(4, other.dataSize());
    }

    @Test
    void recycledByOneOfSeveralThreads() throws InterruptedException {
        for (int round = 0; round < 200; round++) {
            Parcel shared = Parcel.obtain();
            shared.writeInt(round);
            AtomicInteger recycled = new AtomicInteger();
            AtomicInteger refused = new AtomicInteger();
            CountDownLatch start = new CountDownLatch(1);
            Thread[] threads = new Thread[3];
            for (int index = 0; index < threads.length; index++) {
                threads[index] = new Thread(() -> {
                    try {
                        start.await();
                        shared.recycle();
                        recycled.incrementAndGet();
                    } catch (IllegalStateException exception) {
                        refused.incrementAndGet();
                    } catch (InterruptedException exception) {
                        throw new AssertionError(exception);
                    }
                });
                threads[index].start();
            }
            start.countDown();
            for (Thread thread : threads) {
                thread.join();
            }
            assertEquals(1, recycled.get());
            assertEquals(2, refused.get());
        }
    }
}
