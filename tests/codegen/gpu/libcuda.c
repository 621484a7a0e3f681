/* A stand-in for NVIDIA's driver: it records each call in a file, keeps memory in malloc's, runs no kernel, and fails
   the function that FAKE_CUDA_FAIL names ("cuMemAlloc_v2=2"). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long u64;

static int called(const char *name, const char *more) {
  const char *path = getenv("FAKE_CUDA_LOG"), *fail = getenv("FAKE_CUDA_FAIL");
  if (path) {
    FILE *log = fopen(path, "a");
    if (log) { fprintf(log, "%s%s%s\n", name, *more ? " " : "", more); fclose(log); }
  }
  size_t length = strlen(name);
  return fail && !strncmp(fail, name, length) && fail[length] == '=' ? atoi(fail + length + 1) : 0;
}

static int number_of(const char *name, int usual) {
  const char *given = getenv(name);
  return given ? atoi(given) : usual;
}

int cuInit(unsigned flags) { return called("cuInit", ""); }
int cuDeviceGetCount(int *count) {
  const char *devices = getenv("FAKE_CUDA_DEVICES");
  *count = devices ? atoi(devices) : 1;
  return called("cuDeviceGetCount", "");
}
int cuDeviceGet(int *device, int number) { *device = number; return called("cuDeviceGet", ""); }
int cuDeviceGetName(char *name, int size, int device) {
  const char *given = getenv("FAKE_CUDA_NAME");
  snprintf(name, size, "%s", given ? given : "NVIDIA A100-SXM4-80GB");
  return called("cuDeviceGetName", "");
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  *value = attribute == 75 ? 8 : attribute == 76 ? 0 : attribute == 16 ? number_of("FAKE_CUDA_UNITS", 108) : attribute == 13 ? 1410000 : 32;
  return called("cuDeviceGetAttribute", "");
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)number_of("FAKE_CUDA_GIGABYTES", 80) << 30; return called("cuDeviceTotalMem_v2", ""); }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)1; return called("cuDevicePrimaryCtxRetain", ""); }
int cuCtxSetCurrent(void *context) { return called("cuCtxSetCurrent", ""); }
int cuCtxSynchronize(void) { return called("cuCtxSynchronize", ""); }
int cuMemGetInfo_v2(size_t *free, size_t *total) { *free = *total = 80ull << 30; return called("cuMemGetInfo_v2", ""); }
int cuMemAlloc_v2(u64 *address, size_t size) {
  char text[64];
  snprintf(text, sizeof text, "%zu", size);
  int status = called("cuMemAlloc_v2", text);
  if (!status) *address = (u64)calloc(1, size);
  return status;
}
int cuMemFree_v2(u64 address) { free((void *)address); return called("cuMemFree_v2", ""); }
int cuMemcpyHtoD_v2(u64 to, const void *from, size_t size) { memcpy((void *)to, from, size); return called("cuMemcpyHtoD_v2", ""); }
int cuMemcpyDtoH_v2(void *to, u64 from, size_t size) { memcpy(to, (void *)from, size); return called("cuMemcpyDtoH_v2", ""); }
int cuModuleLoadDataEx(void **module, const char *ptx, unsigned count, int *options, void **values) {
  int status = called("cuModuleLoadDataEx", strstr(ptx, ".target ") ? "ptx" : "nothing");
  if (status) snprintf((char *)values[0], (size_t)values[1], "line 7: the fake does not like it");
  *module = (void *)2;
  return status;
}
int cuModuleUnload(void *module) { return called("cuModuleUnload", ""); }
int cuModuleGetFunction(void **function, void *module, const char *name) { *function = (void *)3; return called("cuModuleGetFunction", name); }
int cuFuncSetAttribute(void *function, int attribute, int value) {
  char text[64];
  snprintf(text, sizeof text, "%d=%d", attribute, value);
  return called("cuFuncSetAttribute", text);
}
/* The first two arguments are arrays, and the fake "kernel" copies FAKE_CUDA_COPY bytes from the first to the second. */
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **arguments, void **extra) {
  char text[128];
  snprintf(text, sizeof text, "%ux%ux%u %ux%ux%u %u", gx, gy, gz, bx, by, bz, shared);
  const char *copy = getenv("FAKE_CUDA_COPY");
  if (copy) memcpy((void *)*(u64 *)arguments[1], (void *)*(u64 *)arguments[0], atoi(copy));
  return called("cuLaunchKernel", text);
}
int cuEventCreate(void **event, unsigned flags) { *event = (void *)4; return called("cuEventCreate", ""); }
int cuEventRecord(void *event, void *stream) { return called("cuEventRecord", ""); }
int cuEventSynchronize(void *event) { return called("cuEventSynchronize", ""); }
int cuEventElapsedTime(float *ms, void *start, void *stop) { *ms = 2.5f; return called("cuEventElapsedTime", ""); }
int cuEventDestroy_v2(void *event) { return called("cuEventDestroy_v2", ""); }
