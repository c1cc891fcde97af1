package android.os;

import java.io.FileDescriptor;

/**
 * An object that can be called from other processes: a {@link Binder} in the process that has made it, a proxy in all others.
 * Do not implement it; extend {@link Binder}.
 */
public interface IBinder {
    /** The first code that an interface may give to a method. */
    int FIRST_CALL_TRANSACTION = 0x00000001;
    /** The last code that an interface may give to a method. */
    int LAST_CALL_TRANSACTION = 0x00ffffff;
    /** Asks for nothing: see {@link #pingBinder()}. */
    int PING_TRANSACTION = ('_' << 24) | ('P' << 16) | ('N' << 8) | 'G';
    /** Has the object print its state: see {@link #dump(FileDescriptor, String[])}. */
    int DUMP_TRANSACTION = ('_' << 24) | ('D' << 16) | ('M' << 8) | 'P';
    /** A shell command. */
    int SHELL_COMMAND_TRANSACTION = ('_' << 24) | ('C' << 16) | ('M' << 8) | 'D';
    /** Asks for the name of the interface: see {@link #getInterfaceDescriptor()}. */
    int INTERFACE_TRANSACTION = ('_' << 24) | ('N' << 16) | ('T' << 8) | 'F';
    /** Sends a text. */
    int TWEET_TRANSACTION = ('_' << 24) | ('T' << 16) | ('W' << 8) | 'T';
    /** Tells an application that the caller likes it. */
    int LIKE_TRANSACTION = ('_' << 24) | ('L' << 16) | ('I' << 8) | 'K';
    /** The caller does not wait, and gets no reply. */
    int FLAG_ONEWAY = 0x00000001;

    /** How many bytes one transaction had better not exceed: 64 KiB, as on Android. */
    static int getSuggestedMaxIpcSizeBytes() {
        return 64 * 1024;
    }

    /**
     * The name of the interface that the object implements.
     *
     * @throws RemoteException if the object cannot be asked
     */
    String getInterfaceDescriptor() throws RemoteException;

    /** Whether the object's process answers. */
    boolean pingBinder();

    /** Whether the object's process lives. Unlike {@link #pingBinder()} this asks nobody, so it may be out of date. */
    boolean isBinderAlive();

    /** The implementation of an interface, if the object is in this process and has it; else null. */
    IInterface queryLocalInterface(String descriptor);

    /**
     * Has the object print its state into a file, and waits for it.
     *
     * @throws RemoteException if the object cannot be asked
     */
    void dump(FileDescriptor fd, String[] args) throws RemoteException;

    /**
     * As {@link #dump(FileDescriptor, String[])}, without waiting.
     *
     * @throws RemoteException if the object cannot be asked
     */
    void dumpAsync(FileDescriptor fd, String[] args) throws RemoteException;

    /**
     * Calls the object.
     *
     * @param code what to do, {@link #FIRST_CALL_TRANSACTION} to {@link #LAST_CALL_TRANSACTION}
     * @param data the arguments; its interface token comes first
     * @param reply gets the result; null if none is wanted
     * @param flags 0 or {@link #FLAG_ONEWAY}
     * @return false if the object knows no such code
     * @throws RemoteException if the call failed below the called method
     */
    boolean transact(int code, Parcel data, Parcel reply, int flags) throws RemoteException;

    /** Is told when the process of an object ends. */
    interface DeathRecipient {
        /** The process has ended. Called once, on a thread of Binder. */
        void binderDied();

        /** As {@link #binderDied()}, with the object that was linked. */
        default void binderDied(IBinder who) {
            binderDied();
        }
    }

    /**
     * Has a recipient told when the object's process ends. Does nothing for an object of this process.
     *
     * @param flags 0
     * @throws RemoteException if the process has ended already
     */
    void linkToDeath(DeathRecipient recipient, int flags) throws RemoteException;

    /**
     * Takes a recipient back.
     *
     * @param flags 0
     * @return false if the process has ended already, so that the recipient was told or is about to be
     * @throws java.util.NoSuchElementException if the recipient is not linked
     */
    boolean unlinkToDeath(DeathRecipient recipient, int flags);
}
