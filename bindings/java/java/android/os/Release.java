package android.os;

import android.system.ErrnoException;
import android.system.OsConstants;
import java.io.IOException;
import java.lang.ref.Cleaner;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Releases what objects hold outside of Java's heap when they are not reachable any more.
 *
 * <p>The collector does not see how much that is, and the kernel allows a process only so many mappings, without which the JVM
 * itself cannot go on, and so many descriptors. So who makes such objects {@linkplain #makeRoom makes room} first: beyond some
 * number the collector is told to look for what was dropped. {@link #makeDescriptor} does that when there is no descriptor left.
 */
final class Release {
    /** What an object counts that has a mapping or a descriptor. */
    static final int ONE = 1;
    /** What a memory file counts, which has two of each if it may be purged. */
    static final int FILE = 2;

    /** The kernel's default, where it cannot be asked. */
    private static final int DEFAULT_MAPPINGS = 65530;
    /** How many there may be. */
    private static final int MOST = mostMappings() / 4 * 3;
    /** How many there may be before the collector is first asked. */
    private static final int MANY = Math.min(8192, Math.min(MOST, mostDescriptors() / 4));
    /** Milliseconds of the last pause after a collection; the first is 1, and each is twice as long. */
    private static final int LAST_PAUSE = 256;
    /** The same, for who needs only one descriptor of all that are released. */
    private static final int LAST_PAUSE_FOR_ONE = 64;
    /** How many times as long as a collection that was in vain took there is no other, unless much is released before. */
    private static final int REST = 10;

    private static final Cleaner CLEANER = Cleaner.create();
    private static final AtomicInteger COUNT = new AtomicInteger();
    /** How much was released in all. May overflow. */
    private static final AtomicInteger RELEASED = new AtomicInteger();

    /** How many there may be before the collector is asked. */
    private static volatile int allowed = MANY;
    /** Written under the class's lock. */
    private static volatile int collections;
    /** Whether the last collection was in vain, until when, and {@link #RELEASED} at that time. Guarded by the class. */
    private static boolean inVain;
    private static long restUntil;
    private static int releasedBefore;

    static {
        // Loads the classes for that: without a descriptor none can be loaded.
        new ErrnoException("", OsConstants.EMFILE).getMessage();
    }

    private Release() {}

    /** Makes a descriptor, or several. */
    interface Maker<T, E extends Exception> {
        T make() throws ErrnoException, E;
    }

    /**
     * Runs the action once: when the answer is told to, or else when the object is gone.
     *
     * @param action must not refer to the object
     */
    static Cleaner.Cleanable of(Object object, Runnable action) {
        return CLEANER.register(object, action);
    }

    /** As {@link #of}, for an object that room was made for. */
    static Cleaner.Cleanable counted(int weight, Object object, Runnable action) {
        COUNT.addAndGet(weight);
        return CLEANER.register(object, new Counted(weight, action));
    }

    /** False if there are too many objects, and they are in use. */
    static boolean makeRoom(int weight) {
        return hasRoom(weight) || collect(weight);
    }

    /** Tries again after a collection when there is no descriptor left. */
    static <T, E extends Exception> T makeDescriptor(Maker<T, E> maker) throws ErrnoException, E {
        int before = collections;
        try {
            return maker.make();
        } catch (ErrnoException exception) {
            if (!isOutOfDescriptors(exception)) {
                throw exception;
            }
        }
        collectSince(before);
        for (int pause = 1;; pause *= 2) {
            pause(pause);
            try {
                return maker.make();
            } catch (ErrnoException exception) {
                if (pause >= LAST_PAUSE_FOR_ONE || !isOutOfDescriptors(exception)) {
                    throw exception;
                }
            }
        }
    }

    /** For native code that has found no descriptor left, or hardly any: it tries again after that. */
    private static void makeDescriptors() {
        collectSince(collections);
        pause(LAST_PAUSE_FOR_ONE);
    }

    private static boolean isOutOfDescriptors(ErrnoException exception) {
        return exception.errno == OsConstants.EMFILE || exception.errno == OsConstants.ENFILE;
    }

    private static boolean hasRoom(int weight) {
        return COUNT.get() + weight <= allowed;
    }

    private static synchronized boolean collect(int weight) {
        if (hasRoom(weight)) {
            return true;
        }
        if (inVain && restUntil - System.nanoTime() > 0 && RELEASED.get() - releasedBefore < MOST / 16) {
            return false;
        }
        long start = System.nanoTime();
        int before = COUNT.get();
        inVain = false;
        collectNow();
        for (int pause = 1; pause <= LAST_PAUSE && COUNT.get() >= allowed / 2; pause *= 2) {
            pause(pause);
        }
        // What is left is in use: there is no sense in asking again before it has doubled.
        int count = COUNT.get();
        allowed = Math.min(Math.max(MANY, count * 2), MOST);
        if (count > MOST - MOST / 16 && before - count < MOST / 16) {
            long now = System.nanoTime();
            inVain = true;
            restUntil = now + REST * (now - start);
            releasedBefore = RELEASED.get();
        }
        return hasRoom(weight);
    }

    /** Collects unless another thread has. */
    private static synchronized void collectSince(int before) {
        if (collections == before) {
            collectNow();
        }
    }

    /** Time for the threads that release what was collected. An interrupt waits, too. */
    private static void pause(int milliseconds) {
        boolean interrupted = false;
        long end = System.nanoTime() + milliseconds * 1_000_000L;
        for (long left = end - System.nanoTime(); left > 0; left = end - System.nanoTime()) {
            try {
                Thread.sleep(left / 1_000_000 + 1);
            } catch (InterruptedException exception) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    private static synchronized void collectNow() {
        System.gc();
        collections++;
    }

    private static int mostMappings() {
        try {
            // Not readString, which reads a byte first: the kernel says all of it once.
            return Integer.parseInt(Files.readAllLines(Path.of("/proc/sys/vm/max_map_count")).get(0));
        } catch (IOException | IndexOutOfBoundsException | NumberFormatException exception) {
            return DEFAULT_MAPPINGS;
        }
    }

    /** A very large number if it is not known. */
    private static int mostDescriptors() {
        try {
            for (String line : Files.readAllLines(Path.of("/proc/self/limits"))) {
                if (line.startsWith("Max open files")) {
                    return Integer.parseInt(line.split(" {2,}")[1]);
                }
            }
        } catch (IOException | IndexOutOfBoundsException | NumberFormatException exception) {
            // There is nothing else to ask. Nor if it says "unlimited".
        }
        return Integer.MAX_VALUE;
    }

    private static final class Counted implements Runnable {
        private final int weight;
        private final Runnable action;

        Counted(int weight, Runnable action) {
            this.weight = weight;
            this.action = action;
        }

        @Override
        public void run() {
            try {
                action.run();
            } finally {
                COUNT.addAndGet(-weight);
                RELEASED.addAndGet(weight);
            }
        }
    }
}
