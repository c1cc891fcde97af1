/* The NDK's way from an android.os.SharedMemory to its descriptor.
 *
 * The function is in the native library of ashmem.jar, libashmem_jni.so, not in libashmem_cutils: link with -lashmem_jni. The jar
 * unpacks its library under that name and removes the file again, so it has to be loaded before a library that is linked against
 * it; it is from the first use of a class of the jar on, for instance when there is an object to ask about. */

#ifndef ASHMEM_ANDROID_SHAREDMEM_JNI_H
#define ASHMEM_ANDROID_SHAREDMEM_JNI_H

#include <jni.h>
#include <android/sharedmem.h>

#ifdef __cplusplus
extern "C" {
#endif /* __cplusplus */

/*
 A duplicate of the descriptor of an android.os.SharedMemory, closed on exec, which is the caller's to close.

 Returns -1 when `sharedMemory` is NULL, of another class, or closed, when there is no free descriptor, and while an exception is
 pending. Throws nothing.
 */
int ASharedMemory_dupFromJava(JNIEnv *env, jobject sharedMemory);

#ifdef __cplusplus
} /* extern "C" */
#endif /* __cplusplus */

#endif  /* ASHMEM_ANDROID_SHAREDMEM_JNI_H */
