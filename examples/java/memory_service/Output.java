package shy.luo.ashmem;

/** What the programs print: answers on standard output, the log and what went wrong on standard error. */
final class Output {
    private Output() {}

    /** Makes {@code android.util.Log} print one line for a message: time, level, tag, text. Before the first message. */
    static void shortLogLines() {
        String format = "java.util.logging.SimpleFormatter.format";
        if (System.getProperty(format) == null) {
            System.setProperty(format, "%1$tT %4$.1s %3$s: %5$s%6$s%n");
        }
    }

    /** A line on standard output. */
    static void say(String line) {
        System.out.println(printable(line));
        System.out.flush();
    }

    /** Why something failed, for people. */
    static String message(Throwable exception) {
        String message = exception.getMessage();
        return printable(message != null ? message : exception.getClass().getSimpleName());
    }

    /** A text of one line that does nothing to a terminal, whatever the other process says. */
    static String printable(String text) {
        StringBuilder result = new StringBuilder(text.length());
        text.codePoints().map(c -> Character.isISOControl(c) ? 0xFFFD : c).forEach(result::appendCodePoint);
        return result.toString();
    }
}
