package android.util;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.UnknownHostException;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;

/**
 * Log output by tag and priority. Behind it is {@link java.util.logging}: each tag is a {@link Logger} of that name, which
 * decides what is shown and where. Unless it is told otherwise that is {@link #INFO} and above, on standard error.
 *
 * <p>All methods that log return the length of the message in characters, shown or not.
 */
public final class Log {
    /** Shown as {@link Level#FINER}. */
    public static final int VERBOSE = 2;
    /** Shown as {@link Level#FINE}. */
    public static final int DEBUG = 3;
    /** Shown as {@link Level#INFO}. */
    public static final int INFO = 4;
    /** Shown as {@link Level#WARNING}. */
    public static final int WARN = 5;
    /** Shown as {@link Level#SEVERE}. */
    public static final int ERROR = 6;
    /** What should never happen. Shown as {@link Level#SEVERE}; the program goes on. */
    public static final int ASSERT = 7;

    private Log() {}

    /** Logs a {@link #VERBOSE} message. */
    public static int v(String tag, String msg) {
        return log(VERBOSE, tag, msg, null);
    }

    /** Logs a {@link #VERBOSE} message and an exception. */
    public static int v(String tag, String msg, Throwable tr) {
        return log(VERBOSE, tag, msg, tr);
    }

    /** Logs a {@link #DEBUG} message. */
    public static int d(String tag, String msg) {
        return log(DEBUG, tag, msg, null);
    }

    /** Logs a {@link #DEBUG} message and an exception. */
    public static int d(String tag, String msg, Throwable tr) {
        return log(DEBUG, tag, msg, tr);
    }

    /** Logs an {@link #INFO} message. */
    public static int i(String tag, String msg) {
        return log(INFO, tag, msg, null);
    }

    /** Logs an {@link #INFO} message and an exception. */
    public static int i(String tag, String msg, Throwable tr) {
        return log(INFO, tag, msg, tr);
    }

    /** Logs a {@link #WARN} message. */
    public static int w(String tag, String msg) {
        return log(WARN, tag, msg, null);
    }

    /** Logs a {@link #WARN} message and an exception. */
    public static int w(String tag, String msg, Throwable tr) {
        return log(WARN, tag, msg, tr);
    }

    /** Logs an exception as {@link #WARN}. */
    public static int w(String tag, Throwable tr) {
        return log(WARN, tag, "", tr);
    }

    /** Logs an {@link #ERROR} message. */
    public static int e(String tag, String msg) {
        return log(ERROR, tag, msg, null);
    }

    /** Logs an {@link #ERROR} message and an exception. */
    public static int e(String tag, String msg, Throwable tr) {
        return log(ERROR, tag, msg, tr);
    }

    /** Logs an {@link #ASSERT} message. */
    public static int wtf(String tag, String msg) {
        return log(ASSERT, tag, msg, null);
    }

    /** Logs an {@link #ASSERT} message and an exception. */
    public static int wtf(String tag, String msg, Throwable tr) {
        return log(ASSERT, tag, msg, tr);
    }

    /** Logs an exception as {@link #ASSERT}. */
    public static int wtf(String tag, Throwable tr) {
        return log(ASSERT, tag, String.valueOf(tr), tr);
    }

    /** Whether messages of a tag are shown from this priority on. */
    public static boolean isLoggable(String tag, int level) {
        return logger(tag).isLoggable(level(level));
    }

    /** Logs a message of any priority. One that there is not counts as the nearest. */
    public static int println(int priority, String tag, String msg) {
        return log(priority, tag, msg, null);
    }

    /** An exception with its stack trace and causes. Empty for null, and if a cause is that a host is unknown. */
    public static String getStackTraceString(Throwable tr) {
        int depth = 0;
        for (Throwable cause = tr; cause != null && depth < 100; cause = cause.getCause()) {
            if (cause instanceof UnknownHostException) {
                return "";
            }
            depth++;
        }
        if (tr == null) {
            return "";
        }
        StringWriter text = new StringWriter();
        try (PrintWriter writer = new PrintWriter(text)) {
            tr.printStackTrace(writer);
        }
        return text.toString();
    }

    private static int log(int priority, String tag, String message, Throwable thrown) {
        String text = String.valueOf(message);
        Logger logger = logger(tag);
        Level level = level(priority);
        if (logger.isLoggable(level)) {
            LogRecord entry = new LogRecord(level, text);
            entry.setLoggerName(logger.getName());
            entry.setThrown(thrown);
            // Else every message would be said to come from this class. Formatters show the tag instead.
            entry.setSourceClassName(null);
            entry.setSourceMethodName(null);
            logger.log(entry);
        }
        return text.length();
    }

    private static Logger logger(String tag) {
        return Logger.getLogger(tag != null ? tag : "");
    }

    private static Level level(int priority) {
        if (priority <= VERBOSE) {
            return Level.FINER;
        }
        switch (priority) {
            case DEBUG:
                return Level.FINE;
            case INFO:
                return Level.INFO;
            case WARN:
                return Level.WARNING;
            default:
                return Level.SEVERE;
        }
    }
}
