package shy.luo.ashmem;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;

import android.os.RemoteException;

/** The buttons and the text field of the original as commands. */
final class Terminal {
    static final String HELP = "read, write [VALUE], clear, quit";

    private final MemoryClient client;
    /** The text field: what was read last, or is to be written. */
    private String field = "";
    private int failures;

    Terminal(MemoryClient client) {
        this.client = client;
    }

    /** Does what the input says, until it ends or says {@code quit}. What fails is said, and the next command may do better. */
    int run(InputStream input) throws IOException {
        // Newer versions of Java would give a console where there is no terminal.
        System.setProperty("jdk.console", "java.base");
        boolean isTerminal = System.console() != null;
        BufferedReader reader = new BufferedReader(new InputStreamReader(input));
        if (isTerminal) {
            Output.say(HELP);
        }
        while (true) {
            if (isTerminal) {
                System.out.print("[" + Output.printable(field) + "] ");
                System.out.flush();
            }
            String line = reader.readLine();
            if (line == null && isTerminal) {
                Output.say("");
            }
            if (line == null || line.strip().equals("quit")) {
                break;
            }
            tryCommand(line.strip());
        }
        return isTerminal ? 0 : result();
    }

    /** Does some commands. */
    int run(Iterable<String> commands) {
        commands.forEach(this::tryCommand);
        return result();
    }

    private int result() {
        if (failures > 0) {
            System.err.println("client: " + failures + " commands failed");
        }
        return failures > 0 ? 1 : 0;
    }

    private void tryCommand(String line) {
        try {
            command(line);
        } catch (IOException | RemoteException | RuntimeException exception) {
            Output.say("client: " + Output.message(exception));
            failures++;
        }
    }

    private void command(String line) throws IOException, RemoteException {
        String[] words = line.split("\\s+", 2);
        switch (words[0]) {
            case "" -> {}
            case "read" -> {
                field = String.valueOf(client.read());
                Output.say(field);
            }
            case "write" -> {
                if (words.length > 1) {
                    field = words[1];
                }
                client.write(MemoryClient.parse(field));
            }
            case "clear" -> field = "";
            default -> throw new IllegalArgumentException(HELP);
        }
    }
}
