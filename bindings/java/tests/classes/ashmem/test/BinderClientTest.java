package ashmem.test;

import static ashmem.test.Assert.assertEquals;
import static ashmem.test.Assert.assertFalse;
import static ashmem.test.Assert.assertSame;
import static ashmem.test.Assert.assertThrows;
import static ashmem.test.Assert.assertTrue;
import static ashmem.test.BinderCalls.call;
import static ashmem.test.BinderCalls.send;
import static ashmem.test.BinderCalls.service;

import android.os.Binder;
import android.os.IBinder;
import android.os.MemoryFile;
import android.os.Parcel;
import android.os.ParcelFileDescriptor;
import android.os.RemoteException;
import android.os.ServiceManager;
import android.os.ServiceSpecificException;
import android.os.TransactionTooLargeException;
import java.io.File;
import java.io.FileInputStream;
import java.lang.ref.WeakReference;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** A client of the service, whatever that is written in. */
final class BinderClientTest {
    private static final int PID = (int) ProcessHandle.current().pid();
    private final IBinder service = service();

    @Test
    void oneProxyForOneObject() {
        assertSame(service, service());
        assertSame(service, ServiceManager.checkService(BinderCodes.SERVICE));
        assertSame(service, ServiceManager.waitForService(BinderCodes.SERVICE));
        assertEquals(List.of(BinderCodes.SERVICE), List.of(ServiceManager.listServices()));
        assertSame(null, ServiceManager.checkService("nobody"));
    }

    @Test
    void saysWhatItIs() throws Exception {
        assertEquals(BinderCodes.DESCRIPTOR, service.getInterfaceDescriptor());
        assertEquals(BinderCodes.DESCRIPTOR, service.getInterfaceDescriptor());
        assertTrue(service.pingBinder());
        assertTrue(service.isBinderAlive());
        assertSame(null, service.queryLocalInterface(BinderCodes.DESCRIPTOR));
    }

    @Test
    void values() throws Exception {
        byte[] bytes = {1, -2, 3, 0, -5};
        call(service, BinderCodes.VALUES, data -> {
            data.writeInt(-42);
            data.writeLong(Long.MIN_VALUE + 1);
            data.writeFloat(1.5f);
            data.writeDouble(-2.25);
            data.writeBoolean(true);
            data.writeString("gr\u00fc\u00df dich, \ud83d\ude00");
            data.writeString(null);
            data.writeByteArray(bytes);
            data.writeIntArray(new int[] {7, -8});
        }, reply -> {
            assertEquals(-42, reply.readInt());
            assertEquals(Long.MIN_VALUE + 1, reply.readLong());
            assertEquals(1.5f, reply.readFloat());
            assertEquals(-2.25, reply.readDouble());
            assertTrue(reply.readBoolean());
            assertEquals("gr\u00fc\u00df dich, \ud83d\ude00", reply.readString());
            assertSame(null, reply.readString());
            assertEquals(bytes, reply.createByteArray());
            assertEquals(new int[] {7, -8}, reply.createIntArray());
            assertEquals(0, reply.dataAvail());
            return null;
        });
    }

    @Test
    void bytesOfManySizes() throws Exception {
        Random random = new Random(1);
        for (int size : new int[] {0, 1, 2, 3, 4, 5, 15, 16, 17, 255, 256, 4095, 65_536, 1 << 20}) {
            byte[] bytes = new byte[size];
            random.nextBytes(bytes);
            byte[] same = call(service, BinderCodes.BYTES, data -> data.writeByteArray(bytes), Parcel::createByteArray);
            assertEquals(bytes, same);
        }
    }

    @Test
    void tooLarge() throws Exception {
        assertThrows(TransactionTooLargeException.class,
                () -> call(service, BinderCodes.BYTES, data -> data.writeByteArray(new byte[64 << 20]), reply -> null));
        assertEquals(BinderCodes.DESCRIPTOR, service.getInterfaceDescriptor());
        values();
    }

    @Test
    void sentTwice() throws Exception {
        BinderCallback callback = new BinderCallback();
        Parcel data = Parcel.obtain();
        data.writeInterfaceToken(BinderCodes.DESCRIPTOR);
        data.writeStrongBinder(callback);
        data.writeInt(5);
        for (int turn = 0; turn < 3; turn++) {
            Parcel reply = Parcel.obtain();
            assertTrue(service.transact(BinderCodes.CALL, data, reply, 0));
            reply.readException();
            assertEquals(6, reply.readInt());
        }
    }

    /** To the end. A pipe has no position, which {@code readAllBytes} of JDK 17 asks for. */
    private static String text(FileInputStream in) throws java.io.IOException {
        StringBuilder text = new StringBuilder();
        for (int next = in.read(); next >= 0; next = in.read()) {
            text.append((char) next);
        }
        return text.toString();
    }

    @Test
    void descriptorFromTheService() throws Exception {
        ParcelFileDescriptor file = call(service, BinderCodes.GIVE_PIPE, data -> {},
                reply -> reply.readTypedObject(ParcelFileDescriptor.CREATOR));
        try (FileInputStream in = new ParcelFileDescriptor.AutoCloseInputStream(file)) {
            assertEquals(BinderCodes.IN_PIPE, text(in));
        }
    }

    @Test
    void descriptorForTheService() throws Exception {
        ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
        call(service, BinderCodes.WRITE_INTO, data -> {
            data.writeTypedObject(pipe[1], 0);
            data.writeString("into the pipe");
        }, reply -> null);
        pipe[1].close();
        try (FileInputStream in = new ParcelFileDescriptor.AutoCloseInputStream(pipe[0])) {
            assertEquals("into the pipe", text(in));
        }
    }

    @Test
    void memoryForTheService() throws Exception {
        try (MemoryFileOf memory = new MemoryFileOf(4096)) {
            call(service, BinderCodes.WRITE_INTO, data -> {
                data.writeTypedObject(memory.duplicate(), 0);
                data.writeString("into the memory");
            }, reply -> null);
            byte[] bytes = new byte[15];
            memory.file.readBytes(bytes, 0, 0, bytes.length);
            assertEquals("into the memory", new String(bytes, StandardCharsets.UTF_8));
        }
    }

    private static final class MemoryFileOf implements AutoCloseable {
        final MemoryFile file;

        MemoryFileOf(int size) throws Exception {
            file = new MemoryFile("memory", size);
        }

        ParcelFileDescriptor duplicate() {
            try {
                return ParcelFileDescriptor.dup(file.getFileDescriptor());
            } catch (java.io.IOException exception) {
                throw new AssertionError(exception);
            }
        }

        @Override
        public void close() {
            file.close();
        }
    }

    @Test
    void objectsBetweenBytes() throws Exception {
        BinderCallback callback = new BinderCallback();
        ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
        call(service, BinderCodes.OBJECTS, data -> {
            data.writeStrongBinder(callback);
            data.writeTypedObject(pipe[0], 0);
            data.writeInt(9);
            data.writeTypedObject(pipe[1], 0);
            data.writeStrongBinder(null);
            data.writeStrongBinder(service);
            data.writeString("end");
        }, reply -> {
            assertSame(callback, reply.readStrongBinder());
            ParcelFileDescriptor in = reply.readTypedObject(ParcelFileDescriptor.CREATOR);
            assertEquals(9, reply.readInt());
            ParcelFileDescriptor out = reply.readTypedObject(ParcelFileDescriptor.CREATOR);
            assertSame(null, reply.readStrongBinder());
            assertSame(service, reply.readStrongBinder());
            assertEquals("end", reply.readString());
            try (var to = new ParcelFileDescriptor.AutoCloseOutputStream(out)) {
                to.write(7);
            }
            try (var from = new ParcelFileDescriptor.AutoCloseInputStream(in)) {
                assertEquals(7, from.read());
            }
            return null;
        });
        pipe[0].close();
        pipe[1].close();
    }

    @Test
    void ownObjectComesBack() throws Exception {
        BinderCallback callback = new BinderCallback();
        IBinder same = call(service, BinderCodes.SAME, data -> data.writeStrongBinder(callback), Parcel::readStrongBinder);
        assertSame(callback, same);
        same = call(service, BinderCodes.SAME, data -> data.writeStrongBinder(service), Parcel::readStrongBinder);
        assertSame(service, same);
        same = call(service, BinderCodes.SAME, data -> data.writeStrongBinder(null), Parcel::readStrongBinder);
        assertSame(null, same);
    }

    @Test
    void calledWhileItWaits() throws Exception {
        BinderCallback callback = new BinderCallback();
        assertEquals(8, callBack(callback, 7));
        assertSame(Thread.currentThread(), callback.calledOn);
        assertEquals(0, callback.flags);
    }

    private int callBack(BinderCallback callback, int value) throws Exception {
        return call(service, BinderCodes.CALL, data -> {
            data.writeStrongBinder(callback);
            data.writeInt(value);
        }, Parcel::readInt);
    }

    @Test
    void callsEachOtherDeeply() throws Exception {
        Binder deep = new Binder(BinderCodes.CALLBACK) {
            @Override
            protected boolean onTransact(int code, Parcel data, Parcel reply, int flags) throws RemoteException {
                data.enforceInterface(BinderCodes.CALLBACK);
                int left = data.readInt();
                try {
                    int depth = left == 0 ? 0 : 1 + down(this, left - 1);
                    reply.writeNoException();
                    reply.writeInt(depth);
                } catch (Exception exception) {
                    throw new IllegalStateException(exception);
                }
                return true;
            }
        };
        assertEquals(8, down(deep, 8));
    }

    private int down(Binder deep, int left) throws Exception {
        return call(service, BinderCodes.CALL, data -> {
            data.writeStrongBinder(deep);
            data.writeInt(left);
        }, Parcel::readInt);
    }

    @Test
    void calledOneWay() throws Exception {
        BinderCallback callback = new BinderCallback();
        synchronized (BinderClientTest.class) {
            call(service, BinderCodes.KEEP, data -> data.writeStrongBinder(callback), reply -> null);
            for (int value = 0; value < 20; value++) {
                int sent = value;
                send(service, BinderCodes.CALL_KEPT, data -> data.writeInt(sent));
            }
            for (int value = 0; value < 20; value++) {
                assertEquals(value, callback.next());
            }
            assertEquals(IBinder.FLAG_ONEWAY, callback.flags);
            assertTrue(callback.calledOn.isDaemon());
            assertEquals("Binder", callback.calledOn.getName());
            call(service, BinderCodes.FORGET);
        }
    }

    @Test
    void isFreeWhenThePeerLetsGo() throws Exception {
        int before = BinderCalls.counts()[1];
        WeakReference<BinderCallback> callback = keep();
        for (int turn = 0; turn < 5; turn++) {
            System.gc();
        }
        assertFalse(callback.get() == null);
        assertTrue(BinderCalls.counts()[1] > before);
        call(service, BinderCodes.FORGET);
        BinderCalls.await(() -> callback.get() == null);
        BinderCalls.await(() -> BinderCalls.counts()[1] <= before);
    }

    private WeakReference<BinderCallback> keep() throws Exception {
        BinderCallback callback = new BinderCallback();
        call(service, BinderCodes.KEEP, data -> data.writeStrongBinder(callback), reply -> null);
        return new WeakReference<>(callback);
    }

    @Test
    void exceptions() {
        assertEquals("an argument", fails(IllegalArgumentException.class, BinderCodes.FAIL_ILLEGAL_ARGUMENT).getMessage());
        assertEquals("a permission", fails(SecurityException.class, BinderCodes.FAIL_SECURITY).getMessage());
        assertEquals("unsupported", fails(UnsupportedOperationException.class, BinderCodes.FAIL_UNSUPPORTED).getMessage());
        var specific = fails(ServiceSpecificException.class, BinderCodes.FAIL_SERVICE_SPECIFIC);
        assertEquals(77, specific.errorCode);
        assertEquals("its own", specific.getMessage());
    }

    private <T extends Throwable> T fails(Class<T> expected, int kind) {
        return assertThrows(expected, () -> call(service, BinderCodes.FAIL, data -> data.writeInt(kind), reply -> null));
    }

    @Test
    void callerIsKnown() throws Exception {
        int uid = (int) Files.getAttribute(new File("/proc/self").toPath(), "unix:uid");
        call(service, BinderCodes.CALLER, data -> {}, reply -> {
            assertEquals(uid, reply.readInt());
            assertEquals(PID, reply.readInt());
            return null;
        });
        assertEquals(uid, Binder.getCallingUid());
        assertEquals(PID, Binder.getCallingPid());
    }

    @Test
    void wrongTokens() throws Exception {
        Parcel data = Parcel.obtain();
        Parcel reply = Parcel.obtain();
        data.writeInterfaceToken("ashmem.test.IOther");
        assertThrows(IllegalArgumentException.class, () -> service.transact(BinderCodes.CALLER, data, reply, 0));
        Parcel empty = Parcel.obtain();
        assertThrows(IllegalArgumentException.class, () -> service.transact(BinderCodes.CALLER, empty, reply, 0));
        assertThrows(NullPointerException.class, () -> service.transact(BinderCodes.CALLER, null, reply, 0));
        assertEquals(0, reply.dataSize());
        callerIsKnown();
    }

    @Test
    void unknownCodes() throws Exception {
        for (int code : new int[] {99, IBinder.LAST_CALL_TRANSACTION, -1, IBinder.LIKE_TRANSACTION}) {
            Parcel data = Parcel.obtain();
            data.writeInterfaceToken(BinderCodes.DESCRIPTOR);
            assertFalse(service.transact(code, data, Parcel.obtain(), 0));
        }
    }

    @Test
    void dumps() throws Exception {
        ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
        service.dump(pipe[1].getFileDescriptor(), new String[] {"a", "b"});
        pipe[1].close();
        try (FileInputStream in = new ParcelFileDescriptor.AutoCloseInputStream(pipe[0])) {
            assertEquals("dump a,b", text(in));
        }
    }

    @Test
    void manyThreads() throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(16);
        List<Future<?>> running = new ArrayList<>();
        for (int thread = 0; thread < 16; thread++) {
            int first = 1000 * thread;
            running.add(threads.submit(() -> {
                BinderCallback callback = new BinderCallback();
                for (int value = first; value < first + 50; value++) {
                    assertEquals(value + 1, callBack(callback, value));
                    descriptorFromTheService();
                }
                return null;
            }));
        }
        for (Future<?> each : running) {
            each.get();
        }
        threads.shutdown();
    }
}
