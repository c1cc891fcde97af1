package ashmem.test;

import static ashmem.test.BinderCodes.*;

import android.os.Binder;
import android.os.IBinder;
import android.os.Parcel;
import android.os.ParcelFileDescriptor;
import android.os.RemoteException;
import android.os.ServiceManager;
import android.os.ServiceSpecificException;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;

/** The service of these tests; as a program it serves until its standard input ends. */
final class BinderService extends Binder {
    private volatile IBinder kept;
    private volatile Parcel keptData;

    BinderService() {
        super(DESCRIPTOR);
    }

    public static void main(String[] arguments) throws IOException {
        ServiceManager.addService(arguments.length == 0 ? SERVICE : arguments[0], new BinderService());
        System.out.println("ready");
        System.out.flush();
        while (System.in.read() >= 0) {
            // Until it ends.
        }
        System.exit(0);
    }

    @Override
    protected boolean onTransact(int code, Parcel data, Parcel reply, int flags) throws RemoteException {
        if (code < FIRST_CALL_TRANSACTION || code > KEEP_DATA + 10) {
            return super.onTransact(code, data, reply, flags);
        }
        data.enforceInterface(DESCRIPTOR);
        try {
            return serve(code, data, reply, flags);
        } catch (IOException exception) {
            throw new IllegalStateException(exception);
        }
    }

    private boolean serve(int code, Parcel data, Parcel reply, int flags) throws RemoteException, IOException {
        switch (code) {
            case VALUES -> {
                reply.writeNoException();
                reply.writeInt(data.readInt());
                reply.writeLong(data.readLong());
                reply.writeFloat(data.readFloat());
                reply.writeDouble(data.readDouble());
                reply.writeBoolean(data.readBoolean());
                reply.writeString(data.readString());
                reply.writeString(data.readString());
                reply.writeByteArray(data.createByteArray());
                reply.writeIntArray(data.createIntArray());
                data.enforceNoDataAvail();
            }
            case BYTES -> {
                reply.writeNoException();
                reply.writeByteArray(data.createByteArray());
            }
            case GIVE_PIPE -> {
                ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
                try (FileOutputStream out = new ParcelFileDescriptor.AutoCloseOutputStream(pipe[1])) {
                    out.write(IN_PIPE.getBytes(StandardCharsets.UTF_8));
                }
                reply.writeNoException();
                reply.writeTypedObject(pipe[0], 0);
                pipe[0].close();
            }
            case WRITE_INTO -> {
                ParcelFileDescriptor file = data.readTypedObject(ParcelFileDescriptor.CREATOR);
                try (FileOutputStream out = new ParcelFileDescriptor.AutoCloseOutputStream(file)) {
                    out.write(data.readString().getBytes(StandardCharsets.UTF_8));
                }
                reply.writeNoException();
            }
            case CALL -> {
                IBinder callback = data.readStrongBinder();
                int answer = call(callback, ADD_ONE, data.readInt(), 0);
                reply.writeNoException();
                reply.writeInt(answer);
            }
            case KEEP -> {
                kept = data.readStrongBinder();
                reply.writeNoException();
            }
            case CALL_KEPT -> call(kept, TOLD, data.readInt(), IBinder.FLAG_ONEWAY);
            case FORGET -> {
                kept = null;
                System.gc();
                reply.writeNoException();
            }
            case FAIL -> fail(data.readInt());
            case CALLER -> {
                reply.writeNoException();
                reply.writeInt(Binder.getCallingUid());
                reply.writeInt(Binder.getCallingPid());
            }
            case SAME -> {
                reply.writeNoException();
                reply.writeStrongBinder(data.readStrongBinder());
            }
            case OWN_PID -> {
                reply.writeNoException();
                reply.writeInt((int) ProcessHandle.current().pid());
            }
            case OBJECTS -> objects(data, reply);
            case IDENTITY -> {
                long token = Binder.clearCallingIdentity();
                reply.writeNoException();
                reply.writeInt(Binder.getCallingUid());
                reply.writeInt(Binder.getCallingPid());
                Binder.restoreCallingIdentity(token);
                reply.writeInt(Binder.getCallingUid());
                reply.writeInt(Binder.getCallingPid());
            }
            case FLAGS -> call(kept, TOLD, flags, IBinder.FLAG_ONEWAY);
            default -> {
                return serveJava(code, data, reply);
            }
        }
        return true;
    }

    private boolean serveJava(int code, Parcel data, Parcel reply) throws RemoteException, IOException {
        switch (code) {
            case BARE -> {
                ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
                reply.writeNoException();
                reply.writeFileDescriptor(pipe[0].getFileDescriptor());
                reply.writeInt(42);
                reply.writeFileDescriptor(pipe[1].getFileDescriptor());
                reply.writeLong(43);
                reply.writeFileDescriptor(pipe[0].getFileDescriptor());
                reply.writeFileDescriptor(pipe[1].getFileDescriptor());
                pipe[0].close();
                pipe[1].close();
            }
            case BARE_ROW -> {
                reply.writeNoException();
                for (int index = 0; index < 3; index++) {
                    reply.writeFileDescriptor(FileDescriptor.err);
                }
            }
            case LARGE -> {
                reply.writeNoException();
                reply.writeByteArray(new byte[65 << 20]);
            }
            case THROW_ERROR -> throw new StackOverflowError("on purpose");
            case RECYCLE -> {
                data.recycle();
                reply.recycle();
            }
            case KEEP_DATA -> {
                keptData = data;
                reply.writeNoException();
            }
            case READ_KEPT_DATA -> {
                String thrown = "nothing";
                try {
                    keptData.readStrongBinder();
                } catch (RuntimeException exception) {
                    thrown = exception.getClass().getSimpleName();
                }
                reply.writeNoException();
                reply.writeString(thrown);
            }
            case FOREIGN -> {
                reply.writeNoException();
                reply.writeStrongBinder(ServiceManager.getService(data.readString()));
            }
            default -> {
                return false;
            }
        }
        return true;
    }

    @Override
    protected void dump(FileDescriptor fd, PrintWriter out, String[] args) {
        out.print("dump " + String.join(",", args));
    }

    private static void copyDescriptor(Parcel data, Parcel reply) throws IOException {
        try (ParcelFileDescriptor file = data.readTypedObject(ParcelFileDescriptor.CREATOR)) {
            reply.writeTypedObject(file, 0);
        }
    }

    private static void objects(Parcel data, Parcel reply) throws IOException {
        reply.writeNoException();
        reply.writeStrongBinder(data.readStrongBinder());
        copyDescriptor(data, reply);
        reply.writeInt(data.readInt());
        copyDescriptor(data, reply);
        reply.writeStrongBinder(data.readStrongBinder());
        reply.writeStrongBinder(data.readStrongBinder());
        reply.writeString(data.readString());
    }

    private static void fail(int kind) {
        switch (kind) {
            case FAIL_ILLEGAL_ARGUMENT -> throw new IllegalArgumentException("an argument");
            case FAIL_SECURITY -> throw new SecurityException("a permission");
            case FAIL_SERVICE_SPECIFIC -> throw new ServiceSpecificException(77, "its own");
            case FAIL_UNSUPPORTED -> throw new UnsupportedOperationException("unsupported");
            default -> throw new ClassCastException("cannot be written");
        }
    }

    static int call(IBinder callback, int code, int value, int flags) throws RemoteException {
        Parcel data = Parcel.obtain();
        Parcel reply = Parcel.obtain();
        try {
            data.writeInterfaceToken(CALLBACK);
            data.writeInt(value);
            callback.transact(code, data, reply, flags);
            if (flags == IBinder.FLAG_ONEWAY) {
                return 0;
            }
            reply.readException();
            return reply.readInt();
        } finally {
            data.recycle();
            reply.recycle();
        }
    }
}
