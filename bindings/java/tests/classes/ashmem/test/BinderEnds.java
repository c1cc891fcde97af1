package ashmem.test;

import android.os.IBinder;

/** A client with all that could keep a program from ending. Its main method returns. */
final class BinderEnds {
    private BinderEnds() {}

    public static void main(String[] arguments) throws Exception {
        IBinder service = BinderCalls.service();
        BinderCallback callback = new BinderCallback();
        service.linkToDeath(() -> {}, 0);
        BinderCalls.call(service, BinderCodes.KEEP, data -> data.writeStrongBinder(callback), reply -> null);
        BinderCalls.send(service, BinderCodes.CALL_KEPT, data -> data.writeInt(1));
        callback.next();
        System.out.println("ready");
        for (int value = 0; value < 500; value++) {
            BinderCalls.send(service, BinderCodes.CALL_KEPT, data -> data.writeInt(2));
        }
    }
}
