/* As much of libnvidia-ml as the metrics call: two devices whose state is the first number of a file. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15 };
enum { HANGS = 1000, NO_UTILIZATION = 1001 };

typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned int gpu, memory; } utilization;

static int devices[] = {0, 1};

/* "<state> <used bytes of device 0>" */
static int state(unsigned long long *used) {
    unsigned long long ignored;
    int found = SUCCESS;
    FILE *file = fopen(getenv("NVML_STATE"), "r");
    if (!file) return GPU_IS_LOST;
    if (fscanf(file, "%d %llu", &found, used ? used : &ignored) < 1) found = SUCCESS;
    fclose(file);
    if (found == HANGS) for (;;) sleep(1000);
    return found == NO_UTILIZATION ? SUCCESS : found;
}

int nvmlInitWithFlags(unsigned int flags) { return state(NULL); }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return "an error of the stand-in"; }

int nvmlSystemGetDriverVersion(char *text, unsigned int length) {
    strncpy(text, "535.183.01", length);
    return state(NULL);
}

int nvmlDeviceGetCount_v2(unsigned int *count) {
    *count = 2;
    return state(NULL);
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, int **device) {
    if (index > 1) return NOT_FOUND;
    *device = &devices[index];
    return state(NULL);
}

int nvmlDeviceGetHandleByUUID(const char *uuid, int **device) {
    if (strcmp(uuid, "GPU-second")) return NOT_FOUND;
    *device = &devices[1];
    return state(NULL);
}

int nvmlDeviceGetName(int *device, char *text, unsigned int length) {
    strncpy(text, *device ? "Tesla T4" : "NVIDIA L4", length);
    return state(NULL);
}

int nvmlDeviceGetMemoryInfo(int *device, memory *found) {
    int code = state(&found->used);
    if (*device) found->used = 1ull << 30;
    found->total = *device ? 16ull << 30 : 24ull << 30;
    found->free = found->total - found->used;
    return code;
}

int nvmlDeviceGetUtilizationRates(int *device, utilization *found) {
    int supported = 1;
    FILE *file = fopen(getenv("NVML_STATE"), "r");
    int code = GPU_IS_LOST;
    if (file && fscanf(file, "%d", &code) == 1) supported = code != NO_UTILIZATION;
    if (file) fclose(file);
    found->gpu = 37;
    found->memory = 11;
    return supported ? state(NULL) : NOT_SUPPORTED;
}
