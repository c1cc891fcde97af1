package ashmem.test;

import android.os.Binder;
import android.os.IBinder;
import android.os.Parcel;
import android.os.RemoteException;
import android.os.ServiceManager;
import java.lang.reflect.Method;

/** Calls of the service of these tests. */
final class BinderCalls {
    private BinderCalls() {}

    interface Write {
        void to(Parcel data) throws RemoteException;
    }

    interface Read<T> {
        T from(Parcel reply) throws Exception;
    }

    static IBinder service() {
        IBinder service = ServiceManager.getService(BinderCodes.SERVICE);
        if (service == null || service instanceof Binder) {
            throw new AssertionError("not a service of another process: " + service);
        }
        return service;
    }

    /** Calls the service, and reads what follows the exception. */
    static <T> T call(IBinder service, int code, Write write, Read<T> read) throws Exception {
        Parcel data = Parcel.obtain();
        Parcel reply = Parcel.obtain();
        try {
            data.writeInterfaceToken(BinderCodes.DESCRIPTOR);
            write.to(data);
            Assert.assertTrue(service.transact(code, data, reply, 0));
            Assert.assertEquals(0, reply.dataPosition());
            reply.readException();
            return read.from(reply);
        } finally {
            data.recycle();
            reply.recycle();
        }
    }

    static void call(IBinder service, int code) throws Exception {
        call(service, code, data -> {}, reply -> null);
    }

    static void send(IBinder service, int code, Write write) throws RemoteException {
        Parcel data = Parcel.obtain();
        try {
            data.writeInterfaceToken(BinderCodes.DESCRIPTOR);
            write.to(data);
            Assert.assertTrue(service.transact(code, data, null, IBinder.FLAG_ONEWAY));
        } finally {
            data.recycle();
        }
    }

    /** Proxies, own objects that others hold, received parcels. */
    static int[] counts() throws ReflectiveOperationException {
        Method counts = Class.forName("android.os.BinderProxy").getDeclaredMethod("counts");
        counts.setAccessible(true);
        return (int[]) counts.invoke(null);
    }

    interface Condition {
        boolean holds() throws Exception;
    }

    /** Waits, collecting garbage, until something holds. */
    static void await(Condition condition) throws Exception {
        for (int attempt = 0; attempt < 3000; attempt++) {
            if (condition.holds()) {
                return;
            }
            System.gc();
            Thread.sleep(10);
        }
        throw new AssertionError("it never holds");
    }
}
