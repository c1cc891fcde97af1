package ashmem.test;

import android.os.Parcel;
import android.os.ServiceSpecificException;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HexFormat;

/**
 * Reads lines {@code KIND HEX} with the bytes of a parcel, and answers each with what it has read as text, a space, and the bytes
 * of a parcel that it has written the same to.
 */
final class ParcelPeer {
    private ParcelPeer() {}

    public static void main(String[] arguments) throws IOException {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ", -1);
            byte[] bytes = HexFormat.of().parseHex(words[1]);
            Parcel from = Parcel.obtain();
            from.unmarshall(bytes, 0, bytes.length);
            from.setDataPosition(0);
            Parcel to = Parcel.obtain();
            String text;
            try {
                text = copy(words[0], from, to);
                from.enforceNoDataAvail();
            } catch (RuntimeException exception) {
                text = exception.getClass().getSimpleName();
            }
            System.out.println(text + " " + HexFormat.of().formatHex(to.marshall()));
            to.recycle();
            from.recycle();
        }
        System.out.flush();
    }

    private static String copy(String kind, Parcel from, Parcel to) {
        switch (kind) {
            case "int":
                int number = from.readInt();
                to.writeInt(number);
                return Integer.toString(number);
            case "long":
                long wide = from.readLong();
                to.writeLong(wide);
                return Long.toString(wide);
            case "float":
                float small = from.readFloat();
                to.writeFloat(small);
                return Integer.toString(Float.floatToRawIntBits(small));
            case "double":
                double large = from.readDouble();
                to.writeDouble(large);
                return Long.toString(Double.doubleToRawLongBits(large));
            case "boolean":
                boolean flag = from.readBoolean();
                to.writeBoolean(flag);
                return Boolean.toString(flag);
            case "byte":
                byte tiny = from.readByte();
                to.writeByte(tiny);
                return Byte.toString(tiny);
            case "string":
                String text = from.readString();
                to.writeString(text);
                return units(text);
            case "token":
                String token = from.readString();
                from.setDataPosition(0);
                from.enforceInterface(token);
                to.writeInterfaceToken(token);
                return units(token);
            case "exception":
                return copyException(from, to);
            default:
                return copyArray(kind, from, to);
        }
    }

    private static String copyArray(String kind, Parcel from, Parcel to) {
        switch (kind) {
            case "bytes":
                byte[] bytes = from.createByteArray();
                to.writeByteArray(bytes);
                return text(Arrays.toString(bytes));
            case "booleans":
                boolean[] booleans = from.createBooleanArray();
                to.writeBooleanArray(booleans);
                return text(Arrays.toString(booleans));
            case "chars":
                char[] chars = from.createCharArray();
                to.writeCharArray(chars);
                return chars == null ? "null" : units(new String(chars));
            case "ints":
                int[] ints = from.createIntArray();
                to.writeIntArray(ints);
                return text(Arrays.toString(ints));
            case "longs":
                long[] longs = from.createLongArray();
                to.writeLongArray(longs);
                return text(Arrays.toString(longs));
            case "floats":
                float[] floats = from.createFloatArray();
                to.writeFloatArray(floats);
                int[] floatBits = new int[floats == null ? 0 : floats.length];
                Arrays.setAll(floatBits, index -> Float.floatToRawIntBits(floats[index]));
                return text(floats == null ? "null" : Arrays.toString(floatBits));
            case "doubles":
                double[] doubles = from.createDoubleArray();
                to.writeDoubleArray(doubles);
                long[] doubleBits = new long[doubles == null ? 0 : doubles.length];
                Arrays.setAll(doubleBits, index -> Double.doubleToRawLongBits(doubles[index]));
                return text(doubles == null ? "null" : Arrays.toString(doubleBits));
            case "strings":
                String[] strings = from.createStringArray();
                to.writeStringArray(strings);
                String[] allUnits = new String[strings == null ? 0 : strings.length];
                Arrays.setAll(allUnits, index -> units(strings[index]));
                return text(strings == null ? "null" : Arrays.toString(allUnits));
            default:
                throw new AssertionError(kind);
        }
    }

    private static String copyException(Parcel from, Parcel to) {
        RuntimeException exception = null;
        try {
            from.readException();
        } catch (RuntimeException thrown) {
            exception = thrown;
        }
        if (exception == null) {
            to.writeNoException();
            return "none";
        }
        int code = exception instanceof ServiceSpecificException ? ((ServiceSpecificException) exception).errorCode : 0;
        String text = exception.getClass().getSimpleName() + ":" + code + ":" + units(exception.getMessage());
        try {
            to.writeException(exception);
        } catch (RuntimeException refused) {
            return text;
        }
        return text;
    }

    private static String text(String list) {
        return list.replace(" ", "");
    }

    /** The UTF-16 units in hexadecimal. */
    private static String units(String text) {
        if (text == null) {
            return "null";
        }
        StringBuilder units = new StringBuilder("\"");
        for (char unit : text.toCharArray()) {
            units.append(String.format("%04x", (int) unit));
        }
        return units.append('"').toString();
    }
}
