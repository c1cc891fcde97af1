package ashmem.test;

import static ashmem.test.Assert.assertThrows;
import static ashmem.test.Assert.assertTrue;

import android.os.Binder;
import android.os.ServiceManager;

/** {@code ASHMEM_BINDER} names the kernel's binder. */
final class BinderKernelTest {
    @Test
    void isNotForJava() {
        var thrown = assertThrows(UnsupportedOperationException.class,
                () -> ServiceManager.addService("service", new Binder()));
        assertTrue(thrown.getMessage().contains("binder://"));
        assertThrows(UnsupportedOperationException.class, () -> ServiceManager.getService("service"));
        assertThrows(UnsupportedOperationException.class, () -> ServiceManager.checkService("service"));
        assertThrows(UnsupportedOperationException.class, () -> ServiceManager.waitForService("service"));
        assertThrows(UnsupportedOperationException.class, ServiceManager::listServices);
    }
}
