package ashmem.test;

import static ashmem.test.Assert.assertEquals;
import static ashmem.test.Assert.assertFalse;
import static ashmem.test.Assert.assertSame;
import static ashmem.test.Assert.assertThrows;
import static ashmem.test.Assert.assertTrue;
import static ashmem.test.BinderCalls.call;
import static ashmem.test.BinderCalls.service;

import android.os.DeadObjectException;
import android.os.IBinder;
import android.os.Parcel;
import android.os.ServiceManager;
import java.util.NoSuchElementException;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** The service is killed, once. */
final class BinderDeathTest {
    private final BlockingQueue<String> told = new LinkedBlockingQueue<>();
    private IBinder toldOf;
    private Thread toldOn;

    @Test
    void death() throws Exception {
        IBinder service = service();
        IBinder.DeathRecipient twice = () -> told.add("twice");
        IBinder.DeathRecipient never = () -> told.add("never");
        IBinder.DeathRecipient throwing = () -> {
            told.add("throwing");
            throw new IllegalStateException("on purpose");
        };
        IBinder.DeathRecipient last = new IBinder.DeathRecipient() {
            @Override
            public void binderDied() {
                throw new AssertionError("the other one is to be called");
            }

            @Override
            public void binderDied(IBinder who) {
                toldOf = who;
                toldOn = Thread.currentThread();
                told.add("last");
            }
        };
        assertThrows(NoSuchElementException.class, () -> service.unlinkToDeath(never, 0));
        service.linkToDeath(twice, 0);
        service.linkToDeath(never, 0);
        service.linkToDeath(twice, 0);
        service.linkToDeath(throwing, 0);
        service.linkToDeath(last, 0);
        assertTrue(service.unlinkToDeath(never, 0));
        assertThrows(NoSuchElementException.class, () -> service.unlinkToDeath(never, 0));
        assertThrows(NullPointerException.class, () -> service.linkToDeath(null, 0));

        int pid = call(service, BinderCodes.OWN_PID, data -> {}, Parcel::readInt);
        assertTrue(ProcessHandle.of(pid).orElseThrow().destroyForcibly());

        for (String expected : new String[] {"twice", "twice", "throwing", "last"}) {
            assertEquals(expected, told.poll(30, TimeUnit.SECONDS));
        }
        assertSame(service, toldOf);
        assertTrue(toldOn.isDaemon());
        assertFalse(toldOn == Thread.currentThread());

        assertFalse(service.isBinderAlive());
        assertFalse(service.pingBinder());
        assertThrows(DeadObjectException.class, () -> call(service, BinderCodes.CALLER));
        assertThrows(DeadObjectException.class, () -> service.linkToDeath(last, 0));
        assertFalse(service.unlinkToDeath(last, 0));
        assertThrows(DeadObjectException.class, service::getInterfaceDescriptor);
        assertSame(null, ServiceManager.checkService(BinderCodes.SERVICE));
        assertEquals(0, ServiceManager.listServices().length);
        assertEquals(0, told.size());
    }
}
