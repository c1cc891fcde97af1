package ashmem.test;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;

/** The Rust process that has started this one: it does what it is asked, on the other side of the memory. */
final class MemoryPeer {
    private static final BufferedReader ANSWERS =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));

    private MemoryPeer() {}

    /** What the peer answers to a request, which tests/jvm/memory.rs describes. */
    static synchronized String ask(String request) throws IOException {
        System.out.println("? " + request);
        System.out.flush();
        String answer = ANSWERS.readLine();
        if (answer == null) {
            throw new IOException("The peer is gone");
        }
        return answer;
    }
}
