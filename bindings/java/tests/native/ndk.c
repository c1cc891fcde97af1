/* A library as an application has it: it knows the NDK's header, and asks for descriptors of Java objects. */
#include <android/sharedmem_jni.h>
#include <errno.h>

JNIEXPORT jint JNICALL Java_ashmem_test_SharedMemoryNdkTest_dup(JNIEnv *env, jclass class, jobject memory)
{
    int fd = ASharedMemory_dupFromJava(env, memory);
    (void)class;
    if ((*env)->ExceptionCheck(env))
        return -2;
    return fd;
}

JNIEXPORT jint JNICALL Java_ashmem_test_SharedMemoryNdkTest_dupAndThrow(JNIEnv *env, jclass class, jobject memory)
{
    (void)class;
    (*env)->ThrowNew(env, (*env)->FindClass(env, "java/lang/IllegalStateException"), "thrown before");
    return ASharedMemory_dupFromJava(env, memory) == -1 ? 0 : -2;
}
