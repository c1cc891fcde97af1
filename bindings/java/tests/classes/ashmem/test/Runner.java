package ashmem.test;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.Comparator;

/** Runs the {@link Test}s of a class: {@code Runner CLASS [METHOD]}. Exits with 1 when one fails or there is none. */
public final class Runner {
    private Runner() {}

    public static void main(String[] arguments) throws ReflectiveOperationException {
        Class<?> tests = Class.forName(arguments[0]);
        Method[] methods = tests.getDeclaredMethods();
        Arrays.sort(methods, Comparator.comparing(Method::getName));
        int passed = 0;
        int failed = 0;
        for (Method method : methods) {
            if (!method.isAnnotationPresent(Test.class) || arguments.length > 1 && !method.getName().equals(arguments[1])) {
                continue;
            }
            method.setAccessible(true);
            try {
                var constructor = tests.getDeclaredConstructor();
                constructor.setAccessible(true);
                method.invoke(constructor.newInstance());
                passed++;
                System.out.println("ok " + method.getName());
            } catch (InvocationTargetException exception) {
                failed++;
                System.out.println("FAILED " + method.getName());
                exception.getCause().printStackTrace(System.out);
            }
        }
        System.out.println(tests.getSimpleName() + ": " + passed + " passed, " + failed + " failed");
        System.out.flush();
        System.exit(failed == 0 && passed > 0 ? 0 : 1);
    }
}
