package ashmem.test;

import android.os.IBinder;
import android.os.Parcel;
import java.util.Arrays;

/**
 * How long a transaction takes, run by hand: {@code BinderBench [CALLS]}, with a {@link BinderService}, or the one in Rust, in the
 * directory of services. Prints the best of some rounds, and their median.
 */
final class BinderBench {
    private BinderBench() {}

    public static void main(String[] arguments) throws Exception {
        int calls = arguments.length == 0 ? 20_000 : Integer.parseInt(arguments[0]);
        IBinder service = BinderCalls.service();
        measure("caller", service, calls, 4);
        measure("1 MiB", service, calls / 100, 1 << 20);
    }

    private static void measure(String what, IBinder service, int calls, int size) throws Exception {
        byte[] bytes = new byte[size];
        double[] rounds = new double[12];
        for (int round = 0; round < rounds.length; round++) {
            long start = System.nanoTime();
            for (int call = 0; call < calls; call++) {
                echo(service, bytes);
            }
            rounds[round] = (System.nanoTime() - start) / 1e3 / calls;
        }
        // The first ones are those that the compiler needs.
        double[] warm = Arrays.copyOfRange(rounds, 4, rounds.length);
        Arrays.sort(warm);
        System.out.printf("%s: best %.2f us, median %.2f us%n", what, warm[0], warm[warm.length / 2]);
    }

    private static void echo(IBinder service, byte[] bytes) throws Exception {
        Parcel data = Parcel.obtain();
        Parcel reply = Parcel.obtain();
        try {
            data.writeInterfaceToken(BinderCodes.DESCRIPTOR);
            data.writeByteArray(bytes);
            service.transact(BinderCodes.BYTES, data, reply, 0);
            reply.readException();
            if (reply.createByteArray().length != bytes.length) {
                throw new AssertionError();
            }
        } finally {
            data.recycle();
            reply.recycle();
        }
    }
}
