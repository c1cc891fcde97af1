package android.os;

import java.nio.ByteBuffer;

/** Arrays of primitives in a {@link ParcelBuffer}: the length, -1 for null, and the elements. */
final class ParcelArrays {
    private ParcelArrays() {}

    static byte[] createBytes(ParcelBuffer from) {
        int length = from.readLength(1);
        if (length < 0) {
            return null;
        }
        byte[] array = new byte[length];
        from.readBytes(array);
        return array;
    }

    static void readBytes(ParcelBuffer from, byte[] into) {
        from.readLength(into.length, 1);
        from.readBytes(into);
    }

    static void write(ParcelBuffer to, boolean[] array) {
        if (array == null) {
            to.writeInt(-1);
        } else {
            ByteBuffer elements = to.putArray(array.length, 4);
            for (boolean element : array) {
                elements.putInt(element ? 1 : 0);
            }
        }
    }

    static boolean[] createBooleans(ParcelBuffer from) {
        int length = from.readLength(4);
        if (length < 0) {
            return null;
        }
        boolean[] array = new boolean[length];
        take(from, array);
        return array;
    }

    static void read(ParcelBuffer from, boolean[] into) {
        from.readLength(into.length, 4);
        take(from, into);
    }

    private static void take(ParcelBuffer from, boolean[] into) {
        ByteBuffer elements = from.getArray(into.length, 4);
        for (int index = 0; index < into.length; index++) {
            into[index] = elements.getInt() != 0;
        }
    }

    static void write(ParcelBuffer to, char[] array) {
        if (array == null) {
            to.writeInt(-1);
        } else {
            ByteBuffer elements = to.putArray(array.length, 4);
            for (char element : array) {
                elements.putInt(element);
            }
        }
    }

    static char[] createChars(ParcelBuffer from) {
        int length = from.readLength(4);
        if (length < 0) {
            return null;
        }
        char[] array = new char[length];
        take(from, array);
        return array;
    }

    static void read(ParcelBuffer from, char[] into) {
        from.readLength(into.length, 4);
        take(from, into);
    }

    private static void take(ParcelBuffer from, char[] into) {
        ByteBuffer elements = from.getArray(into.length, 4);
        for (int index = 0; index < into.length; index++) {
            into[index] = (char) elements.getInt();
        }
    }

    static void write(ParcelBuffer to, int[] array) {
        if (array == null) {
            to.writeInt(-1);
        } else {
            to.putArray(array.length, 4).asIntBuffer().put(array);
        }
    }

    static int[] createInts(ParcelBuffer from) {
        int length = from.readLength(4);
        if (length < 0) {
            return null;
        }
        int[] array = new int[length];
        take(from, array);
        return array;
    }

    static void read(ParcelBuffer from, int[] into) {
        from.readLength(into.length, 4);
        take(from, into);
    }

    private static void take(ParcelBuffer from, int[] into) {
        from.getArray(into.length, 4).asIntBuffer().get(into);
    }

    static void write(ParcelBuffer to, long[] array) {
        if (array == null) {
            to.writeInt(-1);
        } else {
            to.putArray(array.length, 8).asLongBuffer().put(array);
        }
    }

    static long[] createLongs(ParcelBuffer from) {
        int length = from.readLength(8);
        if (length < 0) {
            return null;
        }
        long[] array = new long[length];
        take(from, array);
        return array;
    }

    static void read(ParcelBuffer from, long[] into) {
        from.readLength(into.length, 8);
        take(from, into);
    }

    private static void take(ParcelBuffer from, long[] into) {
        from.getArray(into.length, 8).asLongBuffer().get(into);
    }

    static void write(ParcelBuffer to, float[] array) {
        if (array == null) {
            to.writeInt(-1);
        } else {
            to.putArray(array.length, 4).asFloatBuffer().put(array);
        }
    }

    static float[] createFloats(ParcelBuffer from) {
        int length = from.readLength(4);
        if (length < 0) {
            return null;
        }
        float[] array = new float[length];
        take(from, array);
        return array;
    }

    static void read(ParcelBuffer from, float[] into) {
        from.readLength(into.length, 4);
        take(from, into);
    }

    private static void take(ParcelBuffer from, float[] into) {
        from.getArray(into.length, 4).asFloatBuffer().get(into);
    }

    static void write(ParcelBuffer to, double[] array) {
        if (array == null) {
            to.writeInt(-1);
        } else {
            to.putArray(array.length, 8).asDoubleBuffer().put(array);
        }
    }

    static double[] createDoubles(ParcelBuffer from) {
        int length = from.readLength(8);
        if (length < 0) {
            return null;
        }
        double[] array = new double[length];
        take(from, array);
        return array;
    }

    static void read(ParcelBuffer from, double[] into) {
        from.readLength(into.length, 8);
        take(from, into);
    }

    private static void take(ParcelBuffer from, double[] into) {
        from.getArray(into.length, 8).asDoubleBuffer().get(into);
    }
}
