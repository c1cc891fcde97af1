package ashmem.test;

import static ashmem.test.Assert.assertEquals;
import static ashmem.test.Assert.assertTrue;

import java.awt.Component;
import java.awt.Container;
import java.awt.EventQueue;
import java.awt.Point;
import java.awt.Rectangle;
import java.awt.Robot;
import java.awt.Window;
import java.awt.event.InputEvent;
import java.awt.event.KeyEvent;
import java.awt.image.BufferedImage;
import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.concurrent.Callable;
import java.util.concurrent.FutureTask;
import java.util.stream.Stream;
import javax.imageio.ImageIO;
import javax.swing.JButton;
import javax.swing.JLabel;
import javax.swing.JTextField;

import android.os.MemoryFile;
import android.os.ParcelFileDescriptor;
import android.os.ServiceManager;
import shy.luo.ashmem.Client;
import shy.luo.ashmem.IMemoryService;

/**
 * The example's window: {@code WindowTest PICTURE SERVER}, with a display at hand, and a server that is the process SERVER. Ends
 * with 0 if all is as it should be.
 */
public final class WindowTest {
    /** Looks at something that another thread or process is about to change. */
    private static final int TRIES = 2000;

    private final Robot robot = new Robot();
    /** Another client of the service. */
    private final IMemoryService service =
            IMemoryService.Stub.asInterface(ServiceManager.getService("AnonymousSharedMemory"));
    private final MemoryFile memory;
    private final Window window;
    private final JTextField field;
    private final JLabel status;

    private WindowTest() throws Exception {
        try (ParcelFileDescriptor descriptor = service.getFileDescriptor()) {
            memory = new MemoryFile(descriptor.getFileDescriptor(), 4, "r");
        }
        Client.main(new String[] {"--window"});
        await("the window", () -> Arrays.stream(Window.getWindows()).anyMatch(Window::isShowing));
        window = inWindow(() -> Arrays.stream(Window.getWindows()).filter(Window::isShowing).findFirst().orElseThrow());
        field = find(JTextField.class, "value");
        status = find(JLabel.class, "status");
    }

    public static void main(String[] arguments) {
        try {
            WindowTest test = new WindowTest();
            test.readsAndWrites();
            test.doesNotWaitForAServerThatStopped(arguments[1]);
            test.looks(new File(arguments[0]));
            System.out.println("ok");
            System.exit(0);
        } catch (Throwable failure) {
            failure.printStackTrace();
            System.exit(1);
        }
    }

    private void readsAndWrites() throws Exception {
        await("the service is found", () -> status.getText().equals("The memory service is there."));
        click(button("Clear"));
        await("the focus", button("Clear")::isFocusOwner);
        robot.waitForIdle();
        await("something on the screen", () -> colours(look(window)) > 20);
        BufferedImage empty = look(field);

        click(field);
        type(KeyEvent.VK_4, KeyEvent.VK_7, KeyEvent.VK_1, KeyEvent.VK_1);
        await("typed text", () -> field.getText().equals("4711"));
        click(button("Write"));
        await("the value at the service", () -> value() == 4711);
        click(button("Clear"));
        await("no text", () -> field.getText().isEmpty());
        await("an empty field on the screen", () -> same(empty, look(field)));

        service.setValue(-7);
        click(button("Read"));
        await("what was read", () -> field.getText().equals("-7"));
        await("what was read on the screen", () -> !same(empty, look(field)));
        click(button("Clear"));
        await("an empty field on the screen", () -> same(empty, look(field)));

        click(field);
        type(KeyEvent.VK_1, KeyEvent.VK_PERIOD, KeyEvent.VK_5);
        click(button("Write"));
        await("the reason", () -> status.getText().equals("\"1.5\" is not an integer of 32 bits"));
        assertEquals(-7, value());
    }

    private void doesNotWaitForAServerThatStopped(String server) throws Exception {
        click(button("Clear"));
        click(field);
        type(KeyEvent.VK_9);
        signal("STOP", server);
        await("all threads of the server have stopped", () -> hasStopped(server));
        try {
            click(button("Write"));
            await("the call", () -> status.getText().equals("Waiting for the service."));
            click(button("Read"));
            await("what is in memory", () -> status.getText().equals("Read -7 out of memory."));
            click(button("Clear"));
            await("no text", () -> field.getText().isEmpty());
            assertTrue(!button("Write").isEnabled());
        } finally {
            signal("CONT", server);
        }
        await("the answer", () -> status.getText().equals("The service has written 9."));
        assertEquals(9, value());
    }

    private static void signal(String name, String process) throws Exception {
        assertEquals(0, new ProcessBuilder("sh", "-c", "kill -" + name + " " + process).inheritIO().start().waitFor());
    }

    private static boolean hasStopped(String process) throws Exception {
        try (Stream<Path> threads = Files.list(Path.of("/proc", process, "task"))) {
            for (Path thread : threads.toList()) {
                // Behind the name, which may be any text, comes the state.
                String status = Files.readString(thread.resolve("stat"));
                if (status.charAt(status.lastIndexOf(')') + 2) != 'T') {
                    return false;
                }
            }
            return true;
        }
    }

    private void looks(File picture) throws Exception {
        click(button("Clear"));
        await("no text", () -> field.getText().isEmpty());
        click(field);
        // Enter writes, too.
        type(KeyEvent.VK_4, KeyEvent.VK_2, KeyEvent.VK_ENTER);
        await("the value at the service", () -> value() == 42);
        await("the answer", () -> status.getText().equals("The service has written 42."));
        click(button("Read"));
        await("the answer", () -> status.getText().equals("Read 42 out of memory."));
        robot.mouseMove(0, 0);
        robot.waitForIdle();
        BufferedImage last = look(window);
        assertTrue(colours(last) > 20);
        ImageIO.write(last, "png", picture);
    }

    private int value() throws Exception {
        byte[] bytes = new byte[4];
        memory.readBytes(bytes, 0, 0, 4);
        return bytes[0] << 24 | (bytes[1] & 0xFF) << 16 | (bytes[2] & 0xFF) << 8 | bytes[3] & 0xFF;
    }

    private void click(Component component) throws Exception {
        await("a button that can be pressed", component::isEnabled);
        Point place = inWindow(component::getLocationOnScreen);
        robot.mouseMove(place.x + component.getWidth() / 2, place.y + component.getHeight() / 2);
        robot.mousePress(InputEvent.BUTTON1_DOWN_MASK);
        robot.mouseRelease(InputEvent.BUTTON1_DOWN_MASK);
        robot.waitForIdle();
    }

    private void type(int... keys) throws Exception {
        await("the field has the focus", field::isFocusOwner);
        for (int key : keys) {
            robot.keyPress(key);
            robot.keyRelease(key);
        }
        robot.waitForIdle();
    }

    private BufferedImage look(Component component) throws Exception {
        return robot.createScreenCapture(new Rectangle(inWindow(component::getLocationOnScreen), component.getSize()));
    }

    private static boolean same(BufferedImage one, BufferedImage other) {
        return Arrays.equals(pixels(one), pixels(other));
    }

    private static long colours(BufferedImage image) {
        return Arrays.stream(pixels(image)).distinct().count();
    }

    private static int[] pixels(BufferedImage image) {
        return image.getRGB(0, 0, image.getWidth(), image.getHeight(), null, 0, image.getWidth());
    }

    private JButton button(String text) throws Exception {
        return all(JButton.class).filter(button -> button.getText().equals(text)).findFirst().orElseThrow();
    }

    private <T extends Component> T find(Class<T> type, String name) throws Exception {
        return all(type).filter(component -> name.equals(component.getName())).findFirst().orElseThrow();
    }

    private <T extends Component> Stream<T> all(Class<T> type) throws Exception {
        return inWindow(() -> below(window)).filter(type::isInstance).map(type::cast);
    }

    private static Stream<Component> below(Component component) {
        Stream<Component> parts = component instanceof Container container
                ? Arrays.stream(container.getComponents()).flatMap(WindowTest::below)
                : Stream.empty();
        return Stream.concat(Stream.of(component), parts);
    }

    /** Asks in the thread that windows belong to. */
    private static <T> T inWindow(Callable<T> question) throws Exception {
        if (EventQueue.isDispatchThread()) {
            return question.call();
        }
        FutureTask<T> task = new FutureTask<>(question);
        EventQueue.invokeAndWait(task);
        return task.get();
    }

    private void await(String what, Callable<Boolean> question) throws Exception {
        for (int i = 0; i < TRIES; i++) {
            if (inWindow(question)) {
                return;
            }
            robot.delay(10);
        }
        String seen = status == null ? "" : ": " + inWindow(() -> "[" + field.getText() + "] " + status.getText());
        throw new AssertionError("waited in vain for " + what + seen);
    }
}
