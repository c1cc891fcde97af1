package ashmem.test;

import static ashmem.test.Assert.assertEquals;
import static ashmem.test.Assert.assertFalse;
import static ashmem.test.Assert.assertSame;
import static ashmem.test.Assert.assertTrue;

import android.util.Log;
import java.net.UnknownHostException;
import java.util.ArrayList;
import java.util.List;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import java.util.logging.SimpleFormatter;

final class LogTest {
    private final List<LogRecord> records = new ArrayList<>();

    private Logger logger(String tag) {
        Logger logger = Logger.getLogger(tag);
        logger.setUseParentHandlers(false);
        logger.addHandler(new Handler() {
            @Override
            public void publish(LogRecord entry) {
                records.add(entry);
            }

            @Override
            public void flush() {}

            @Override
            public void close() {}
        });
        return logger;
    }

    @Test
    void eachPriorityHasItsLevel() {
        Logger logger = logger("levels");
        logger.setLevel(Level.ALL);
        Throwable thrown = new Throwable("why");
        int length = Log.v("levels", "v") + Log.d("levels", "d") + Log.i("levels", "i") + Log.w("levels", "w")
                + Log.e("levels", "e") + Log.wtf("levels", "wtf");
        assertEquals(8, length);
        Log.v("levels", "v", thrown);
        Log.d("levels", "d", thrown);
        Log.i("levels", "i", thrown);
        Log.w("levels", "w", thrown);
        Log.e("levels", "e", thrown);
        Log.wtf("levels", "wtf", thrown);
        Level[] levels = {Level.FINER, Level.FINE, Level.INFO, Level.WARNING, Level.SEVERE, Level.SEVERE};
        String[] messages = {"v", "d", "i", "w", "e", "wtf"};
        assertEquals(12, records.size());
        for (int i = 0; i < 12; i++) {
            LogRecord entry = records.get(i);
            assertSame(levels[i % 6], entry.getLevel());
            assertEquals(messages[i % 6], entry.getMessage());
            assertEquals("levels", entry.getLoggerName());
            assertSame(i < 6 ? null : thrown, entry.getThrown());
        }
        records.clear();
        Log.w("levels", thrown);
        Log.wtf("levels", thrown);
        assertSame(thrown, records.get(0).getThrown());
        assertSame(thrown, records.get(1).getThrown());
        for (int priority : new int[] {Integer.MIN_VALUE, 2, 3, 4, 5, 6, 7, Integer.MAX_VALUE}) {
            Log.println(priority, "levels", "p");
        }
        assertSame(Level.FINER, records.get(2).getLevel());
        assertSame(Level.SEVERE, records.get(9).getLevel());
    }

    @Test
    void theLoggerDecides() {
        Logger logger = logger("decides");
        assertTrue(Log.isLoggable("decides", Log.INFO));
        assertFalse(Log.isLoggable("decides", Log.DEBUG));
        assertEquals(6, Log.d("decides", "hidden"));
        assertEquals(0, records.size());
        logger.setLevel(Level.SEVERE);
        assertFalse(Log.isLoggable("decides", Log.WARN));
        assertTrue(Log.isLoggable("decides", Log.ERROR));
        assertTrue(Log.isLoggable("decides", Log.ASSERT));
    }

    @Test
    void textIsShownAsItIs() {
        Logger logger = logger("text");
        Log.i("text", "{0} %s \u00e9");
        Log.i("text", null);
        String shown = new SimpleFormatter().format(records.get(0));
        assertTrue(shown.contains("{0} %s \u00e9") && shown.contains("text") && !shown.contains("android.util.Log"));
        assertEquals("null", records.get(1).getMessage());
        assertSame(logger, Logger.getLogger("text"));
    }

    @Test
    void tagsMayBeNull() {
        assertTrue(Log.isLoggable(null, Log.ERROR));
        assertEquals(1, Log.v(null, "x"));
    }

    @Test
    void stackTraces() {
        assertEquals("", Log.getStackTraceString(null));
        assertEquals("", Log.getStackTraceString(new RuntimeException(new UnknownHostException())));
        String text = Log.getStackTraceString(new IllegalStateException("what", new Exception("why")));
        assertTrue(text.contains("what") && text.contains("Caused by") && text.contains("why") && text.contains("LogTest"));
        Throwable first = new Throwable();
        Throwable second = new Throwable(first);
        first.initCause(second);
        assertTrue(Log.getStackTraceString(first).contains("CIRCULAR"));
    }
}
