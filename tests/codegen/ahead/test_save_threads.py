"""The threads of a saved kernel, in a C program."""

from __future__ import annotations

from pathlib import Path

import flashsched as fs
from flashsched import te

from .saved import array, filled, product

THREADS = """
#define _GNU_SOURCE
#include "mm.h"
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
%s
static float want[37 * 50];
static int tasks(void) {
  int n = 0;
  DIR *folder = opendir("/proc/self/task");
  while (readdir(folder) != NULL) n++;
  closedir(folder);
  return n - 2;
}
static int right(void) {
  float c[37 * 50];
  return mm(a, b, c) == FLASHSCHED_DONE && memcmp(c, want, sizeof want) == 0;
}
static void *many(void *unused) {
  int i;
  (void)unused;
  for (i = 0; i < 300; i++) if (!right()) return (void *)want;
  return NULL;
}
int main(void) {
  pthread_t other;
  void *failed;
  int status;
  if (mm_num_threads() != 2) return 1;  /* the environment says so */
  if (tasks() != 1) return 2;
  mm(a, b, want);
  if (tasks() != 2) return 3;
  mm_set_num_threads(4);
  if (mm_num_threads() != 4 || !right() || tasks() != 4) return 4;
  if (pthread_create(&other, NULL, many, NULL) || many(NULL)) return 5;
  if (pthread_join(other, &failed) || failed) return 6;
  if (fork() == 0) _exit(right() && tasks() == 4 ? 0 : 7);
  if (wait(&status) < 0 || status != 0) return 8;
  mm_set_num_threads(-3);
  return mm_num_threads() == 1 && right() ? 0 : 9;
}
"""


def test_threads_of_a_c_program(tmp_path: Path, run_c) -> None:
    """As many as the environment says, then as many as are set; two at once; alive in a forked child."""
    product().save(tmp_path / "mm.o")
    text = THREADS % (array("a", filled(37, 29)) + array("b", filled(29, 50)))
    run_c(text.replace("  /* the environment says so */", ""), "mm.o", env={"FLASHSCHED_NUM_THREADS": "2"})


def test_a_library_is_unloaded_while_its_workers_live(tmp_path: Path, run_c) -> None:
    product().save(tmp_path / "libmm.so")
    text = """
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <unistd.h>
    static float a[37 * 29], b[29 * 50], c[37 * 50];
    int main(void) {
      void *library = dlopen("./libmm.so", RTLD_NOW);
      int (*mm)(const float *, const float *, float *);
      void (*set_num_threads)(int);
      *(void **)&mm = dlsym(library, "mm");
      *(void **)&set_num_threads = dlsym(library, "mm_set_num_threads");
      set_num_threads(3);
      if (mm(a, b, c) != 0) return 1;
      dlclose(library);
      usleep(50000);
      return 0;
    }"""
    run_c(text, "-ldl")


def test_what_the_header_says_of_threads(tmp_path: Path) -> None:
    product().save(tmp_path / "mm.o")
    assert "void mm_set_num_threads(int n);" in (tmp_path / "mm.h").read_text()
    serial = te.compute((4,), lambda i: i + 1, name="C")
    fs.build(te.create_schedule(serial), name="count").save(tmp_path / "count.o")
    told = (tmp_path / "count.h").read_text()
    assert "Each call runs on the thread that makes it." in told
    assert "set_num_threads" not in told
