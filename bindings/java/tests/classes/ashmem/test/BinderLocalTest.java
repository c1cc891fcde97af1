package ashmem.test;

import static ashmem.test.Assert.assertEquals;
import static ashmem.test.Assert.assertSame;
import static ashmem.test.Assert.assertThrows;
import static ashmem.test.Assert.assertTrue;

import android.os.Binder;
import android.os.IBinder;
import android.os.IInterface;
import android.os.Parcel;
import android.os.ServiceManager;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** Objects within their own process. */
final class BinderLocalTest {
    @Test
    void interfaces() {
        Binder binder = new Binder();
        IInterface owner = () -> binder;
        assertSame(null, binder.getInterfaceDescriptor());
        assertSame(null, binder.queryLocalInterface("any"));
        binder.attachInterface(owner, "any");
        assertSame(owner, binder.queryLocalInterface("any"));
        assertSame(null, binder.queryLocalInterface("other"));
        assertSame(null, binder.queryLocalInterface(null));
        assertEquals("any", binder.getInterfaceDescriptor());
        assertSame(null, new Binder("named").queryLocalInterface("named"));
        assertTrue(binder.isBinderAlive());
        assertTrue(binder.pingBinder());
        binder.linkToDeath(() -> {}, 0);
        assertTrue(binder.unlinkToDeath(() -> {}, 0));
    }

    @Test
    void transactIsACall() throws Exception {
        BinderCallback callback = new BinderCallback();
        Parcel data = Parcel.obtain();
        Parcel reply = Parcel.obtain();
        data.writeInterfaceToken(BinderCodes.CALLBACK);
        data.writeInt(3);
        assertTrue(callback.transact(BinderCodes.ADD_ONE, data, reply, 0));
        assertSame(Thread.currentThread(), callback.calledOn);
        assertEquals(0, reply.dataPosition());
        reply.readException();
        assertEquals(4, reply.readInt());
        Parcel name = Parcel.obtain();
        assertTrue(callback.transact(IBinder.INTERFACE_TRANSACTION, null, name, 0));
        assertEquals(BinderCodes.CALLBACK, name.readString());
    }

    @Test
    void dumpPrints() throws Exception {
        Path file = Files.createTempFile("dump", "");
        try (FileOutputStream out = new FileOutputStream(file.toFile())) {
            BinderService service = new BinderService();
            service.dump(out.getFD(), new String[] {"x"});
            service.dumpAsync(out.getFD(), new String[] {"y"});
            // It is open still.
            out.write('!');
        }
        try (FileInputStream in = new FileInputStream(file.toFile())) {
            assertEquals("dump xdump y!", new String(in.readAllBytes()));
        } finally {
            Files.delete(file);
        }
    }

    @Test
    void identity() {
        int uid = Binder.getCallingUid();
        int pid = Binder.getCallingPid();
        assertEquals((int) ProcessHandle.current().pid(), pid);
        long token = Binder.clearCallingIdentity();
        assertEquals(uid, Binder.getCallingUid());
        assertEquals(pid, Binder.getCallingPid());
        Binder.restoreCallingIdentity(token);
        assertEquals(pid, Binder.getCallingPid());
        Binder.flushPendingCommands();
    }

    @Test
    void joiningEndsWhenInterrupted() throws Exception {
        Thread thread = new Thread(Binder::joinThreadPool);
        thread.start();
        thread.interrupt();
        thread.join();
    }

    @Test
    void services() {
        Binder service = new Binder("a service");
        ServiceManager.addService("local", service);
        assertSame(service, ServiceManager.getService("local"));
        assertSame(service, ServiceManager.checkService("local"));
        assertSame(service, ServiceManager.waitForService("local"));
        assertEquals(List.of("local"), List.of(ServiceManager.listServices()));
        var taken = assertThrows(IllegalStateException.class, () -> ServiceManager.addService("local", service));
        assertEquals("add service local: the name is taken", taken.getMessage());
        for (String name : new String[] {"", "two words", "n\u00e4me", "x".repeat(128)}) {
            assertThrows(IllegalArgumentException.class, () -> ServiceManager.addService(name, service));
            assertThrows(IllegalArgumentException.class, () -> ServiceManager.checkService(name));
        }
        assertThrows(NullPointerException.class, () -> ServiceManager.addService(null, service));
        assertThrows(NullPointerException.class, () -> ServiceManager.addService("null", null));
        assertThrows(NullPointerException.class, () -> ServiceManager.getService(null));
    }
}
