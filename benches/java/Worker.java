import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;

import android.os.Binder;
import android.os.IBinder;
import android.os.MemoryFile;
import android.os.Parcel;
import android.os.RemoteException;
import android.os.ServiceManager;

/**
 * The Java side of benches/java.rs: reads orders, which task and how many times, from standard input, and answers each with the
 * nanoseconds that it took. With the argument "server" it serves until its input ends.
 */
final class Worker {
    private static final String SERVICE = "echo";
    private static final String DESCRIPTOR = "ashmem.bench.IMaker";
    private static final int ECHO = IBinder.FIRST_CALL_TRANSACTION;
    private static final int SIZE = 1 << 20;
    /** Compilers have seen enough after so many. */
    private static final long WARM_UP = 40_000;

    private interface Task {
        void run() throws Exception;
    }

    private static final class Echo extends Binder {
        Echo() {
            attachInterface(null, DESCRIPTOR);
        }

        @Override
        protected boolean onTransact(int code, Parcel data, Parcel reply, int flags) throws RemoteException {
            if (code != ECHO) {
                return super.onTransact(code, data, reply, flags);
            }
            data.enforceInterface(DESCRIPTOR);
            reply.writeLong(data.readLong());
            return true;
        }
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length > 0) {
            ServiceManager.addService(SERVICE, new Echo());
            System.out.write(1);
            System.out.flush();
            System.in.read();
            System.exit(0);
        }
        DataInputStream orders = new DataInputStream(System.in);
        DataOutputStream answers = new DataOutputStream(System.out);
        Task[] tasks = new Task[3];
        while (true) {
            int number;
            try {
                number = orders.readInt();
            } catch (EOFException end) {
                return;
            }
            long count = orders.readLong();
            if (tasks[number] == null) {
                tasks[number] = task(number);
                time(tasks[number], WARM_UP);
            }
            answers.writeLong(time(tasks[number], count));
            answers.flush();
        }
    }

    /** As benches/java.rs numbers them. */
    private static Task task(int number) throws Exception {
        return switch (number) {
            case 0 -> memoryFile();
            case 1 -> buffer();
            default -> call();
        };
    }

    private static long time(Task task, long count) throws Exception {
        long start = System.nanoTime();
        for (long i = 0; i < count; i++) {
            task.run();
        }
        return System.nanoTime() - start;
    }

    private static Task memoryFile() throws IOException {
        MemoryFile file = new MemoryFile("bench", SIZE);
        byte[] bytes = new byte[SIZE];
        file.writeBytes(bytes, 0, 0, SIZE);
        return () -> file.readBytes(bytes, 0, 0, SIZE);
    }

    private static Task buffer() {
        ByteBuffer buffer = ByteBuffer.allocateDirect(SIZE);
        byte[] bytes = new byte[SIZE];
        return () -> buffer.get(0, bytes, 0, SIZE);
    }

    private static Task call() throws Exception {
        IBinder service = ServiceManager.getService(SERVICE);
        return () -> {
            Parcel data = Parcel.obtain();
            Parcel reply = Parcel.obtain();
            try {
                data.writeInterfaceToken(DESCRIPTOR);
                data.writeLong(7);
                service.transact(ECHO, data, reply, 0);
                if (reply.readLong() != 7) {
                    throw new IllegalStateException("not what was sent");
                }
            } finally {
                reply.recycle();
                data.recycle();
            }
        };
    }
}
