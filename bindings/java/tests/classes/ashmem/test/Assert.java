package ashmem.test;

import java.util.Arrays;
import java.util.Objects;

/** What tests claim. */
public final class Assert {
    private Assert() {}

    /** What is expected to throw. */
    public interface Action {
        void run() throws Throwable;
    }

    public static void assertTrue(boolean claim) {
        if (!claim) {
            throw new AssertionError("not true");
        }
    }

    public static void assertFalse(boolean claim) {
        if (claim) {
            throw new AssertionError("not false");
        }
    }

    public static void assertEquals(Object expected, Object actual) {
        if (!Objects.deepEquals(expected, actual)) {
            throw new AssertionError("expected " + text(expected) + ", got " + text(actual));
        }
    }

    /** Numbers of different types, too: {@code assertEquals(1L, list.size())}. */
    public static void assertEquals(long expected, long actual) {
        if (expected != actual) {
            throw new AssertionError("expected " + expected + ", got " + actual);
        }
    }

    public static void assertSame(Object expected, Object actual) {
        if (expected != actual) {
            throw new AssertionError("expected the object " + text(expected) + ", got " + text(actual));
        }
    }

    /** Exactly this class, and gives what was thrown. */
    public static <T extends Throwable> T assertThrows(Class<T> expected, Action action) {
        try {
            action.run();
        } catch (Throwable thrown) {
            if (thrown.getClass() == expected) {
                return expected.cast(thrown);
            }
            throw new AssertionError("expected " + expected.getName() + ", got " + thrown, thrown);
        }
        throw new AssertionError("expected " + expected.getName() + ", nothing was thrown");
    }

    private static String text(Object value) {
        String text = Arrays.deepToString(new Object[] {value});
        return text.substring(1, text.length() - 1);
    }
}
