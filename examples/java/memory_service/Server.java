package shy.luo.ashmem;

import java.io.IOException;
import java.io.OutputStream;

import android.os.ServiceManager;
import android.util.Log;

/** The service of the original as a program: it serves until it is ended. */
public final class Server {
    private static final String LOG_TAG = "shy.luo.ashmem.Server";

    private Server() {}

    /**
     * Adds the service and waits.
     *
     * @param arguments none; or {@code --until-input-ends}, for who starts it and wants it to end together with itself
     */
    public static void main(String[] arguments) throws IOException, InterruptedException {
        boolean untilInputEnds = arguments.length == 1 && arguments[0].equals("--until-input-ends");
        if (arguments.length > 0 && !untilInputEnds) {
            System.err.println("usage: Server");
            System.exit(2);
        }
        Output.shortLogLines();
        Log.i(LOG_TAG, "Create Memory Service...");
        MemoryService memoryService = new MemoryService();
        try {
            ServiceManager.addService(MemoryClient.NAME, memoryService);
        } catch (RuntimeException exception) {
            Log.i(LOG_TAG, "Failed to add Memory Service.");
            System.err.println("server: " + Output.message(exception));
            System.exit(1);
        }
        Log.i(LOG_TAG, "Succeed to add memory service.");
        Output.say("server: ready");
        // All is done by threads of Binder.
        if (untilInputEnds) {
            System.in.transferTo(OutputStream.nullOutputStream());
            Log.i(LOG_TAG, "Destroy Memory Service.");
            System.exit(0);
        }
        Thread.currentThread().join();
    }
}
