package android.os;

import java.io.IOException;
import java.lang.ref.Cleaner;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Releases what objects hold outside of Java's heap when they are not reachable any more.
 *
 * <p>The collector does not see how much that is, and the kernel allows a process only so many mappings, without which the JVM
 * itself cannot go on. So who makes such objects {@linkplain #makeRoom makes room} first: beyond some number of objects the
 * collector is told to look for what was dropped.
 */
final class Release {
    /** Objects that nobody minds. */
    private static final int MANY = 8192;
    /** The kernel's default, where it cannot be asked. */
    private static final int DEFAULT_MAPPINGS = 65530;

    private static final Cleaner CLEANER = Cleaner.create();
    private static final AtomicInteger COUNT = new AtomicInteger();

    /** Objects that there may be before the collector is asked. Guarded by the class. */
    private static volatile int allowed = MANY;

    private Release() {}

    /**
     * Runs the action once: when the answer is told to, or else when the object is gone.
     *
     * @param action must not refer to the object
     */
    static Cleaner.Cleanable of(Object object, Runnable action) {
        return CLEANER.register(object, action);
    }

    /** As {@link #of}, for an object that room was made for. */
    static Cleaner.Cleanable counted(Object object, Runnable action) {
        COUNT.incrementAndGet();
        return CLEANER.register(object, new Counted(action));
    }

    /** False if there are too many objects, and they are in use. */
    static boolean makeRoom() {
        return COUNT.get() < allowed || collect();
    }

    private static synchronized boolean collect() {
        if (COUNT.get() < allowed) {
            return true;
        }
        System.gc();
        // What was dropped is released soon after that, by a thread.
        for (int pause = 1; pause <= 256 && COUNT.get() >= allowed / 2; pause *= 2) {
            try {
                Thread.sleep(pause);
            } catch (InterruptedException exception) {
                Thread.currentThread().interrupt();
                break;
            }
        }
        // What is left is in use: there is no sense in asking again before it has doubled.
        int most = mostMappings() / 4 * 3;
        allowed = Math.min(Math.max(MANY, COUNT.get() * 2), most);
        return COUNT.get() < most;
    }

    private static int mostMappings() {
        try {
            // Not readString, which reads a byte first: the kernel says all of it once.
            return Integer.parseInt(Files.readAllLines(Path.of("/proc/sys/vm/max_map_count")).get(0));
        } catch (IOException | IndexOutOfBoundsException | NumberFormatException exception) {
            return DEFAULT_MAPPINGS;
        }
    }

    private static final class Counted implements Runnable {
        private final Runnable action;

        Counted(Runnable action) {
            this.action = action;
        }

        @Override
        public void run() {
            COUNT.decrementAndGet();
            action.run();
        }
    }
}
