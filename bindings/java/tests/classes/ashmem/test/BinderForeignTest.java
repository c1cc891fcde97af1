package ashmem.test;

import static ashmem.test.Assert.assertThrows;
import static ashmem.test.Assert.assertTrue;
import static ashmem.test.BinderCalls.call;

import android.os.Binder;
import android.os.IBinder;
import android.os.Parcel;
import android.os.ServiceManager;

/** With a second service, {@code other}, of a third process. */
final class BinderForeignTest {
    private final IBinder service = BinderCalls.service();
    private final IBinder other = ServiceManager.getService("other");

    @Test
    void cannotBeSentOn() throws Exception {
        var thrown = assertThrows(UnsupportedOperationException.class,
                () -> call(service, BinderCodes.SAME, data -> data.writeStrongBinder(other), Parcel::readStrongBinder));
        assertTrue(thrown.getMessage().contains("third process"));
        assertThrows(UnsupportedOperationException.class,
                () -> call(service, BinderCodes.FOREIGN, data -> data.writeString("other"), Parcel::readStrongBinder));
        assertTrue(other.pingBinder());
        assertTrue(service.pingBinder());
    }

    @Test
    void cannotBeAdded() {
        assertThrows(UnsupportedOperationException.class, () -> ServiceManager.addService("again", other));
    }

    @Test
    void anotherImplementationCannotBeSent() {
        IBinder own = (IBinder) java.lang.reflect.Proxy.newProxyInstance(getClass().getClassLoader(),
                new Class<?>[] {IBinder.class}, (proxy, method, arguments) -> null);
        assertThrows(IllegalArgumentException.class,
                () -> call(service, BinderCodes.SAME, data -> data.writeStrongBinder(own), Parcel::readStrongBinder));
        assertTrue(new Binder().pingBinder());
    }
}
