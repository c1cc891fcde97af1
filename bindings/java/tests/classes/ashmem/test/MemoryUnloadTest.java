package ashmem.test;

import static ashmem.test.Assert.assertTrue;

import java.lang.ref.WeakReference;
import java.net.URL;
import java.net.URLClassLoader;

/** Who loads the classes with a loader of its own gets rid of it again. */
final class MemoryUnloadTest {
    private static final int PATIENCE = 500;

    /** Uses the classes, and gives what should go. */
    private static WeakReference<ClassLoader> use() throws Exception {
        URL classes = MemoryUnloadTest.class.getProtectionDomain().getCodeSource().getLocation();
        URLClassLoader loader = new URLClassLoader(new URL[] {classes}, ClassLoader.getPlatformClassLoader());
        Class<?> file = loader.loadClass("android.os.MemoryFile");
        Object made = file.getConstructor(String.class, int.class).newInstance("unloaded", 5000);
        file.getMethod("getFileDescriptor").invoke(made);
        file.getMethod("close").invoke(made);
        Class<?> memory = loader.loadClass("android.os.SharedMemory");
        made = memory.getMethod("create", String.class, int.class).invoke(null, "unloaded", 5000);
        memory.getMethod("mapReadOnly").invoke(made);
        memory.getMethod("close").invoke(made);
        loader.close();
        return new WeakReference<>(loader);
    }

    /** One loader at a time may have the library: so the second use needs the first to be gone. */
    @Test
    void theLoaderGoes() throws Throwable {
        for (int round = 0; round < 3; round++) {
            Throwable[] thrown = new Throwable[1];
            Object[] loader = new Object[1];
            // A thread of its own, which leaves nothing on a stack.
            Thread user = new Thread(() -> {
                try {
                    loader[0] = use();
                } catch (Exception exception) {
                    thrown[0] = exception;
                }
            });
            user.start();
            user.join();
            if (thrown[0] != null) {
                throw thrown[0];
            }
            for (int i = 0; i < PATIENCE && ((WeakReference<?>) loader[0]).get() != null; i++) {
                System.gc();
                Thread.sleep(10);
            }
            assertTrue(((WeakReference<?>) loader[0]).get() == null);
        }
    }
}
