package shy.luo.ashmem;

import java.awt.AWTError;
import java.awt.BorderLayout;
import java.awt.Color;
import java.awt.EventQueue;
import java.awt.Font;
import java.awt.GraphicsEnvironment;
import java.awt.GridLayout;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.function.Consumer;
import javax.swing.BorderFactory;
import javax.swing.JButton;
import javax.swing.JFrame;
import javax.swing.JLabel;
import javax.swing.JPanel;
import javax.swing.JTextField;
import javax.swing.SwingWorker;
import javax.swing.UIManager;
import javax.swing.UnsupportedLookAndFeelException;
import javax.swing.WindowConstants;
import javax.swing.plaf.nimbus.NimbusLookAndFeel;

import android.util.Log;

/**
 * The layout of the original as a window: a text field, the buttons Read, Write and Clear; and a line that says what happened.
 * The service is asked by other threads than the window's, so one that does not answer holds up no more than the button.
 */
final class ClientWindow {
    private static final String LOG_TAG = "shy.luo.ashmem.Client";
    private static final Color FAILED = new Color(0xA8, 0x12, 0x12);
    private static final int GAP = 14;

    private final MemoryClient client;
    private final JTextField value = new JTextField(18);
    private final JLabel status = new JLabel(" ");
    private final Color usual = status.getForeground();

    private ClientWindow(MemoryClient client) {
        this.client = client;
    }

    /** Shows it. Gives false, and says why, where there can be no window. */
    static boolean open(MemoryClient client) {
        String missing = null;
        if (GraphicsEnvironment.isHeadless()) {
            missing = "DISPLAY names no display, or this Java is one without windows";
        } else {
            try {
                GraphicsEnvironment.getLocalGraphicsEnvironment().getDefaultScreenDevice();
            } catch (AWTError error) {
                missing = Output.message(error);
            }
        }
        if (missing != null) {
            System.err.println("client: a window cannot be shown: " + missing);
            return false;
        }
        EventQueue.invokeLater(() -> {
            setLook();
            new ClientWindow(client).show();
        });
        return true;
    }

    private static void setLook() {
        // Desktops say how they smooth letters; without one nobody does.
        String smooth = "awt.useSystemAAFontSettings";
        if (System.getProperty(smooth) == null) {
            System.setProperty(smooth, "on");
        }
        try {
            UIManager.setLookAndFeel(new NimbusLookAndFeel());
        } catch (UnsupportedLookAndFeelException exception) {
            Log.i(LOG_TAG, "The window looks different: " + exception);
        }
        UIManager.getLookAndFeelDefaults().put("defaultFont", new Font(Font.SANS_SERIF, Font.PLAIN, 14));
    }

    private void show() {
        JButton read = new JButton("Read");
        JButton write = new JButton("Write");
        JButton clear = new JButton("Clear");
        read.addActionListener(event -> read(read));
        write.addActionListener(event -> write(write));
        clear.addActionListener(event -> value.setText(""));
        value.addActionListener(event -> write.doClick());
        value.setName("value");
        value.setFont(value.getFont().deriveFont(Font.PLAIN, 22f));
        status.setName("status");

        JPanel line = new JPanel(new BorderLayout(GAP, GAP));
        line.add(new JLabel("Value"), BorderLayout.WEST);
        line.add(value, BorderLayout.CENTER);
        JPanel buttons = new JPanel(new GridLayout(1, 3, GAP, 0));
        buttons.add(read);
        buttons.add(write);
        buttons.add(clear);
        JPanel content = new JPanel(new BorderLayout(GAP, GAP));
        content.setBorder(BorderFactory.createEmptyBorder(GAP, GAP, GAP, GAP));
        content.add(line, BorderLayout.NORTH);
        content.add(buttons, BorderLayout.CENTER);
        content.add(status, BorderLayout.SOUTH);

        JFrame frame = new JFrame("Ashmem");
        frame.setContentPane(content);
        frame.setDefaultCloseOperation(WindowConstants.EXIT_ON_CLOSE);
        frame.pack();
        frame.setMinimumSize(frame.getSize());
        frame.setLocationRelativeTo(null);
        frame.setVisible(true);
        run(read, () -> {
            client.connect();
            return "";
        }, nothing -> say("The memory service is there."));
    }

    private void read(JButton button) {
        run(button, client::read, result -> {
            value.setText(String.valueOf(result));
            say("Read " + result + " out of memory.");
        });
    }

    private void write(JButton button) {
        int number;
        try {
            number = MemoryClient.parse(value.getText().strip());
        } catch (NumberFormatException exception) {
            fail(exception);
            return;
        }
        run(button, () -> {
            client.write(number);
            return number;
        }, result -> say("The service has written " + result + "."));
    }

    /** Runs a task in another thread, and shows what comes of it. Its button is off meanwhile. */
    private <T> void run(JButton button, Callable<T> task, Consumer<T> show) {
        boolean hadFocus = button.isFocusOwner();
        button.setEnabled(false);
        say("Waiting for the service.");
        new SwingWorker<T, Void>() {
            @Override
            protected T doInBackground() throws Exception {
                return task.call();
            }

            @Override
            protected void done() {
                button.setEnabled(true);
                if (hadFocus) {
                    button.requestFocusInWindow();
                }
                try {
                    show.accept(get());
                } catch (ExecutionException exception) {
                    fail(exception.getCause());
                } catch (InterruptedException exception) {
                    fail(exception);
                }
            }
        }.execute();
    }

    private void say(String text) {
        show(usual, text);
    }

    private void fail(Throwable reason) {
        show(FAILED, Output.message(reason));
    }

    private void show(Color color, String text) {
        status.setForeground(color);
        status.setText(text);
        // For what is longer than the window.
        status.setToolTipText(text);
    }
}
