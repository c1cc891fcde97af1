package shy.luo.ashmem;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

import android.os.RemoteException;

/** The client of the original: at the terminal, from arguments, or as a window. */
public final class Client {
    private static final String USAGE = """
            usage: Client                                    does what standard input says: %s
                   Client VALUE...                           writes each value and reads it back
                   Client (read | write VALUE | clear)...    does this
                   Client --window                           shows a window
            ASHMEM_BINDER=unix:///DIRECTORY says where services are, if not where the user's are.
            """.formatted(Terminal.HELP);

    private Client() {}

    /** Runs it. The exit code is 1 when something failed, and 2 when the arguments make no sense. */
    public static void main(String[] arguments) throws IOException {
        Output.shortLogLines();
        if (arguments.length == 1 && List.of("-h", "--help").contains(arguments[0])) {
            System.out.print(USAGE);
        } else if (arguments.length == 1 && arguments[0].equals("--window")) {
            if (!ClientWindow.open(new MemoryClient())) {
                System.exit(1);
            }
        } else if (arguments.length == 0) {
            System.exit(new Terminal(new MemoryClient()).run(System.in));
        } else if (List.of("read", "write", "clear").contains(arguments[0])) {
            System.exit(new Terminal(new MemoryClient()).run(commands(arguments)));
        } else {
            System.exit(exchange(values(arguments)));
        }
    }

    /** Writes each value and reads it back. */
    private static int exchange(List<Integer> values) {
        MemoryClient client = new MemoryClient();
        try {
            Output.say("client: the value is " + client.read());
            for (int value : values) {
                client.write(value);
                Output.say("client: wrote " + value + ", read " + client.read());
            }
            return writeToMemory(client);
        } catch (IOException | RemoteException | RuntimeException exception) {
            System.err.println("client: " + Output.message(exception));
            return 1;
        }
    }

    private static int writeToMemory(MemoryClient client) throws RemoteException {
        try {
            client.writeToMemory(1);
        } catch (IOException | RuntimeException exception) {
            Output.say("client: writing to the memory itself is refused: " + Output.message(exception));
            return 0;
        }
        System.err.println("client: a client could write to the service's memory");
        return 1;
    }

    private static List<Integer> values(String[] arguments) {
        List<Integer> values = new ArrayList<>();
        for (String argument : arguments) {
            values.add(value(argument));
        }
        return values;
    }

    /** The arguments as lines of the terminal. */
    private static List<String> commands(String[] arguments) {
        List<String> commands = new ArrayList<>();
        for (int i = 0; i < arguments.length; i++) {
            switch (arguments[i]) {
                case "read", "clear" -> commands.add(arguments[i]);
                case "write" -> {
                    i++;
                    commands.add("write " + value(i < arguments.length ? arguments[i] : ""));
                }
                default -> value("");
            }
        }
        return commands;
    }

    /** Nothing is done before all arguments make sense. */
    private static int value(String argument) {
        try {
            return MemoryClient.parse(argument);
        } catch (NumberFormatException exception) {
            System.err.println("client: " + Output.message(exception));
            System.err.print(USAGE);
            System.exit(2);
            throw exception;
        }
    }
}
