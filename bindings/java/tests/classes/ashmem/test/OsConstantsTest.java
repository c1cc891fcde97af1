package ashmem.test;

import static ashmem.test.Assert.assertEquals;
import static ashmem.test.Assert.assertSame;
import static ashmem.test.Assert.assertThrows;
import static ashmem.test.Assert.assertTrue;

import android.system.ErrnoException;
import android.system.OsConstants;
import java.io.IOException;
import java.lang.reflect.Field;

/** Also of ErrnoException. None of it needs the native library. */
final class OsConstantsTest {
    @Test
    void errnosHaveTheirNames() throws ReflectiveOperationException {
        int count = 0;
        for (Field field : OsConstants.class.getFields()) {
            if (field.getName().startsWith("E")) {
                String name = OsConstants.errnoName(field.getInt(null));
                assertTrue(name.equals(field.getName()) || name.equals("EOPNOTSUPP") && field.getName().equals("ENOTSUP"));
                count++;
            }
        }
        assertTrue(count > 80);
        for (int errno : new int[] {0, -1, 41, 134, Integer.MAX_VALUE, Integer.MIN_VALUE}) {
            assertSame(null, OsConstants.errnoName(errno));
        }
    }

    @Test
    void kernelsValues() {
        assertEquals(1, OsConstants.EPERM);
        assertEquals(22, OsConstants.EINVAL);
        assertEquals(110, OsConstants.ETIMEDOUT);
        assertEquals(7, OsConstants.PROT_READ | OsConstants.PROT_WRITE | OsConstants.PROT_EXEC);
        assertEquals(0x80000, OsConstants.O_CLOEXEC);
        boolean isArm = System.getProperty("os.arch").equals("aarch64");
        assertEquals(isArm ? 0x10000 : 0x4000, OsConstants.O_DIRECT);
        assertEquals(isArm ? 0x8000 : 0x20000, OsConstants.O_NOFOLLOW);
        assertTrue(OsConstants.S_ISREG(0100644) && OsConstants.S_ISDIR(040755) && OsConstants.S_ISLNK(0120777));
        assertTrue(!OsConstants.S_ISREG(0120777) && !OsConstants.S_ISDIR(0100644) && !OsConstants.S_ISLNK(0100644));
    }

    @Test
    void errnoException() {
        ErrnoException exception = new ErrnoException("mmap", OsConstants.EPERM);
        assertEquals(1, exception.errno);
        assertEquals("mmap failed: EPERM (Operation not permitted)", exception.getMessage());
        assertEquals("android.system.ErrnoException: " + exception.getMessage(), exception.toString());
        IOException rethrown = assertThrows(IOException.class, exception::rethrowAsIOException);
        assertEquals(exception.getMessage(), rethrown.getMessage());
        assertSame(exception, rethrown.getCause());
        Throwable cause = new Throwable();
        assertSame(cause, new ErrnoException("open", 2, cause).getCause());
        assertEquals("x failed: errno 9999 (Unknown error 9999)", new ErrnoException("x", 9999).getMessage());
        assertEquals("null failed: errno 0 (Unknown error 0)", new ErrnoException(null, 0).getMessage());
    }
}
