; How the fork-join runtime (../threads.ll, which stands above) starts in a library of its own, without Python: at the
; first parallel loop, or when somebody says how many threads to use. ahead/runtime.py fills in the words between @ signs.

@ready = internal global i32 0                          ; 0 not started, 1 a thread is at it, 2 started
@variable = internal constant [23 x i8] c"FLASHSCHED_NUM_THREADS\00"

declare ptr @getenv(ptr)
declare i64 @strtol(ptr, ptr, i32)
declare i32 @pthread_atfork(ptr, ptr, ptr)

define void @fs_parallel_for(ptr %task, ptr %context, i64 %n) {
  call void @make_ready()
  call void @fs_parallel_ready(ptr %task, ptr %context, i64 %n)
  ret void
}

define void @@PREFIX@_set_num_threads(i32 signext %n) {
  call void @make_ready()
  %some = call i32 @llvm.smax.i32(i32 %n, i32 1)
  %few = call i32 @llvm.smin.i32(i32 %some, i32 @MAX_THREADS@)
  call void @fs_set_threads(i32 %few)
  ret void
}

define signext i32 @@PREFIX@_num_threads() {
  call void @make_ready()
  %n = call i32 @fs_threads()
  ret i32 %n
}

define internal void @make_ready() {
entry:
  %was = load atomic i32, ptr @ready acquire, align 4
  %done = icmp eq i32 %was, 2
  br i1 %done, label %leave, label %try
try:
  %swap = cmpxchg ptr @ready, i32 0, i32 1 acq_rel acquire, align 4
  %won = extractvalue { i32, i1 } %swap, 1
  br i1 %won, label %start, label %wait
start:
  call void @fs_reset()
  %said = call ptr @getenv(ptr @variable)
  %nothing = icmp eq ptr %said, null
  br i1 %nothing, label %count, label %read
read:
  %number = call i64 @strtol(ptr %said, ptr null, i32 10)
  %low = icmp sge i64 %number, 1
  %high = icmp sle i64 %number, @MAX_THREADS@
  %fits = and i1 %low, %high
  %asked = trunc i64 %number to i32
  br i1 %fits, label %set, label %count
count:                                                  ; nothing said, or nonsense
  %cores = call i32 @cpus()
  br label %set
set:
  %n = phi i32 [ %asked, %read ], [ %cores, %count ]
  call void @fs_set_threads(i32 %n)
  call i32 @pthread_atfork(ptr null, ptr null, ptr @fs_reset)
  store atomic i32 2, ptr @ready release, align 4
  br label %leave
wait:
  call i32 @sched_yield()
  %now = load atomic i32, ptr @ready acquire, align 4
  %there = icmp eq i32 %now, 2
  br i1 %there, label %leave, label %wait
leave:
  ret void
}

@CPUS@

declare i32 @llvm.smax.i32(i32, i32)
