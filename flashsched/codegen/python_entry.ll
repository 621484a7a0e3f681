; What Python calls when it calls a kernel. docs/design/0011-calls-from-python.md says why it is built this way;
; python_entry.py lays out the tables that are read here, fills in the words between @ signs, and compiles this once in
; each process.
;
; fs_call looks at the arguments and runs the kernel, or, at the first thing that is not plain, hands the arguments to
; the Python function that knows every rule. So it never refuses anything, and never explains anything.

; machine code, how to call it, the Python function, parameters, pairs of arrays that may not share memory, then
; numbers: arrays, inputs among them, sizes, pairs, and whether the kernel is too short to release the GIL for it
%Table = type { ptr, ptr, ptr, ptr, ptr, i64, i64, i64, i64, i64 }
; dtype object, dimensions (below 0: one of the kernel's sizes), what makes a fresh one, number of dimensions, flags
; that NumPy must show, bytes of an element, and the bits of a float that may be passed in its place (0: none)
%Param = type { ptr, ptr, ptr, i64, i32, i64, i64 }
; machine code, how to call it, the Python function, pointers and sizes, what is returned, how many of the former, and
; whether the GIL is kept
%Bound = type { ptr, ptr, ptr, ptr, ptr, i64, i64 }

@fs_ndarray = external global i8                    ; the type object of NumPy's arrays
@fs_float = external global i8                      ; and of Python's floats

declare ptr @PyTuple_GetItem(ptr, i64)
declare ptr @PyTuple_New(i64)
declare i32 @PyTuple_SetItem(ptr, i64, ptr)
declare ptr @PyLong_AsVoidPtr(ptr)
declare double @PyFloat_AsDouble(ptr)
declare ptr @PyObject_CallNoArgs(ptr)
declare ptr @PyObject_Vectorcall(ptr, ptr, i64, ptr)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare void @Py_IncRef(ptr)
declare void @Py_DecRef(ptr)

; METH_FASTCALL
define ptr @fs_call(ptr %self, ptr %args, i64 %given) {
entry:
  %lacking = alloca i64, align 8
  %table = call ptr @table_of(ptr %self)
  %params.at = getelementptr %Table, ptr %table, i32 0, i32 3
  %params = load ptr, ptr %params.at
  %arrays.at = getelementptr %Table, ptr %table, i32 0, i32 5
  %arrays = load i64, ptr %arrays.at
  %inputs.at = getelementptr %Table, ptr %table, i32 0, i32 6
  %inputs = load i64, ptr %inputs.at
  %sizes.at = getelementptr %Table, ptr %table, i32 0, i32 7
  %sizes = load i64, ptr %sizes.at
  %outputs = sub i64 %arrays, %inputs
  %all = icmp eq i64 %given, %arrays
  %inputs.only = icmp eq i64 %given, %inputs
  %shapes.known = icmp eq i64 %sizes, 0
  %can.make = and i1 %inputs.only, %shapes.known
  %count.ok = or i1 %all, %can.make
  br i1 %count.ok, label %prepare, label %slow
prepare:                                            ; words: what the kernel takes, 8 bytes each
  %words.most = add i64 %arrays, %sizes
  %words.count = add i64 %words.most, 1
  %words = alloca i64, i64 %words.count, align 8
  %bytes = alloca i64, i64 %words.count, align 8
  %numbers = alloca i64, i64 %words.count, align 8
  %results = alloca ptr, i64 %words.count, align 8
  %sizes.words = getelementptr i64, ptr %words, i64 %arrays
  %sizes.bytes = mul i64 %sizes, 8
  call void @llvm.memset.p0.i64(ptr %sizes.words, i8 -1, i64 %sizes.bytes, i1 false)
  store i64 0, ptr %lacking
  %lacking.at = getelementptr i64, ptr %words, i64 %words.most
  store ptr %lacking, ptr %lacking.at
  br label %next
next:
  %i = phi i64 [ 0, %prepare ], [ %i.1, %fitting ]
  %some = icmp slt i64 %i, %given
  br i1 %some, label %look, label %known
look:
  %arg.at = getelementptr ptr, ptr %args, i64 %i
  %arg = load ptr, ptr %arg.at
  %param = getelementptr %Param, ptr %params, i64 %i
  %word = getelementptr i64, ptr %words, i64 %i
  %byte = getelementptr i64, ptr %bytes, i64 %i
  %number = getelementptr i64, ptr %numbers, i64 %i
  %fits = call i1 @fits(ptr %arg, ptr %param, ptr %sizes.words, ptr %word, ptr %byte, ptr %number)
  br i1 %fits, label %fitting, label %slow
fitting:
  %i.1 = add i64 %i, 1
  br label %next
known:                                              ; a size that no array told is still -1
  %n = phi i64 [ 0, %next ], [ %n.1, %told ]
  %more = icmp slt i64 %n, %sizes
  br i1 %more, label %look.size, label %apart
look.size:
  %size.at = getelementptr i64, ptr %sizes.words, i64 %n
  %size = load i64, ptr %size.at
  %unknown = icmp slt i64 %size, 0
  br i1 %unknown, label %slow, label %told
told:
  %n.1 = add i64 %n, 1
  br label %known
apart:
  br i1 %all, label %look.apart, label %make
look.apart:
  %share = call i1 @share(ptr %table, ptr %words, ptr %bytes)
  br i1 %share, label %slow, label %hold
hold:
  %h = phi i64 [ 0, %look.apart ], [ %h.1, %holding ]
  %to.hold = icmp slt i64 %h, %outputs
  br i1 %to.hold, label %holding, label %run
holding:
  %held.number = add i64 %inputs, %h
  %held.at = getelementptr ptr, ptr %args, i64 %held.number
  %held = load ptr, ptr %held.at
  call void @Py_IncRef(ptr %held)
  %held.to = getelementptr ptr, ptr %results, i64 %h
  store ptr %held, ptr %held.to
  %h.1 = add i64 %h, 1
  br label %hold
make:
  %m = phi i64 [ 0, %apart ], [ %m.1, %made ]
  %to.make = icmp slt i64 %m, %outputs
  br i1 %to.make, label %making, label %run
making:
  %made.number = add i64 %inputs, %m
  %maker.at = getelementptr %Param, ptr %params, i64 %made.number, i32 2
  %maker = load ptr, ptr %maker.at
  %fresh = call ptr @PyObject_CallNoArgs(ptr %maker)
  %failed = icmp eq ptr %fresh, null
  br i1 %failed, label %fail, label %made
made:
  %made.to = getelementptr ptr, ptr %results, i64 %m
  store ptr %fresh, ptr %made.to
  %fresh.data.at = getelementptr i8, ptr %fresh, i64 @DATA@
  %fresh.data = load ptr, ptr %fresh.data.at
  %fresh.word = getelementptr i64, ptr %words, i64 %made.number
  store ptr %fresh.data, ptr %fresh.word
  %m.1 = add i64 %m, 1
  br label %make
fail:                                               ; no memory for an output: Python's exception is set
  call void @drop(ptr %results, i64 %m)
  ret ptr null
run:
  %code = load ptr, ptr %table
  %repeat.at = getelementptr %Table, ptr %table, i32 0, i32 1
  %repeat = load ptr, ptr %repeat.at
  %keep.at = getelementptr %Table, ptr %table, i32 0, i32 9
  %keep = load i64, ptr %keep.at
  call void @run(ptr %code, ptr %repeat, ptr %words, i64 %keep)
  %lacked = load i64, ptr %lacking
  %gave.up = icmp ne i64 %lacked, 0
  br i1 %gave.up, label %again, label %done
again:
  call void @drop(ptr %results, i64 %outputs)
  br label %slow
done:
  %one = icmp eq i64 %outputs, 1
  br i1 %one, label %single, label %several
single:
  %result = load ptr, ptr %results
  ret ptr %result
several:
  %tuple = call ptr @PyTuple_New(i64 %outputs)
  %no.tuple = icmp eq ptr %tuple, null
  br i1 %no.tuple, label %lose, label %fill
lose:
  call void @drop(ptr %results, i64 %outputs)
  ret ptr null
fill:
  %t = phi i64 [ 0, %several ], [ %t.1, %filling ]
  %to.fill = icmp slt i64 %t, %outputs
  br i1 %to.fill, label %filling, label %filled
filling:                                            ; the tuple takes the reference over
  %item.at = getelementptr ptr, ptr %results, i64 %t
  %item = load ptr, ptr %item.at
  %set = call i32 @PyTuple_SetItem(ptr %tuple, i64 %t, ptr %item)
  %t.1 = add i64 %t, 1
  br label %fill
filled:
  ret ptr %tuple
slow:
  %slow.at = getelementptr %Table, ptr %table, i32 0, i32 2
  %function = load ptr, ptr %slow.at
  %answer = call ptr @PyObject_Vectorcall(ptr %function, ptr %args, i64 %given, ptr null)
  ret ptr %answer
}

; METH_NOARGS: the arrays were looked at when they were bound.
define ptr @fs_call_bound(ptr %self, ptr %nothing) {
entry:
  %lacking = alloca i64, align 8
  %bound = call ptr @table_of(ptr %self)
  %given.at = getelementptr %Bound, ptr %bound, i32 0, i32 3
  %given = load ptr, ptr %given.at
  %count.at = getelementptr %Bound, ptr %bound, i32 0, i32 5
  %count = load i64, ptr %count.at
  %words.count = add i64 %count, 1
  %words = alloca i64, i64 %words.count, align 8
  %bytes = mul i64 %count, 8
  call void @llvm.memcpy.p0.p0.i64(ptr align 8 %words, ptr align 8 %given, i64 %bytes, i1 false)
  store i64 0, ptr %lacking
  %lacking.at = getelementptr i64, ptr %words, i64 %count
  store ptr %lacking, ptr %lacking.at
  %code = load ptr, ptr %bound
  %repeat.at = getelementptr %Bound, ptr %bound, i32 0, i32 1
  %repeat = load ptr, ptr %repeat.at
  %keep.at = getelementptr %Bound, ptr %bound, i32 0, i32 6
  %keep = load i64, ptr %keep.at
  call void @run(ptr %code, ptr %repeat, ptr %words, i64 %keep)
  %lacked = load i64, ptr %lacking
  %gave.up = icmp ne i64 %lacked, 0
  br i1 %gave.up, label %slow, label %done
done:
  %result.at = getelementptr %Bound, ptr %bound, i32 0, i32 4
  %result = load ptr, ptr %result.at
  call void @Py_IncRef(ptr %result)
  ret ptr %result
slow:
  %slow.at = getelementptr %Bound, ptr %bound, i32 0, i32 2
  %function = load ptr, ptr %slow.at
  %answer = call ptr @PyObject_CallNoArgs(ptr %function)
  ret ptr %answer
}

; The table whose address is the first item of the tuple that a function object has for its self.
define internal ptr @table_of(ptr %self) {
  %number = call ptr @PyTuple_GetItem(ptr %self, i64 0)
  %table = call ptr @PyLong_AsVoidPtr(ptr %number)
  ret ptr %table
}

; Whether %arg is what %param says; then its address is in %word and its size in %byte. A size of the kernel that is
; still -1 in %sizes gets the number that the array has there. A float that stands for an array is put into %number.
define internal i1 @fits(ptr %arg, ptr %param, ptr %sizes, ptr %word, ptr %byte, ptr %number) {
entry:
  %type.at = getelementptr i8, ptr %arg, i64 @TYPE@
  %type = load ptr, ptr %type.at
  %is.array = icmp eq ptr %type, @fs_ndarray
  br i1 %is.array, label %array, label %other
other:
  %bits.at = getelementptr %Param, ptr %param, i32 0, i32 6
  %bits = load i64, ptr %bits.at
  %takes.float = icmp ne i64 %bits, 0
  %is.float = icmp eq ptr %type, @fs_float
  %float = and i1 %takes.float, %is.float
  br i1 %float, label %convert, label %no
convert:
  %double = call double @PyFloat_AsDouble(ptr %arg)
  store ptr %number, ptr %word
  store i64 8, ptr %byte
  %wide = icmp eq i64 %bits, 64
  br i1 %wide, label %store.64, label %store.32
store.64:
  store double %double, ptr %number
  ret i1 true
store.32:
  %single = fptrunc double %double to float
  store float %single, ptr %number
  ret i1 true
array:
  %dtype.at = getelementptr i8, ptr %arg, i64 @DTYPE@
  %dtype = load ptr, ptr %dtype.at
  %dtype.want = load ptr, ptr %param
  %dtype.ok = icmp eq ptr %dtype, %dtype.want
  %rank.at = getelementptr i8, ptr %arg, i64 @RANK@
  %rank = load i32, ptr %rank.at
  %rank.64 = sext i32 %rank to i64
  %rank.want.at = getelementptr %Param, ptr %param, i32 0, i32 3
  %rank.want = load i64, ptr %rank.want.at
  %rank.ok = icmp eq i64 %rank.64, %rank.want
  %flags.at = getelementptr i8, ptr %arg, i64 @FLAGS@
  %flags = load i32, ptr %flags.at
  %flags.want.at = getelementptr %Param, ptr %param, i32 0, i32 4
  %flags.want = load i32, ptr %flags.want.at
  %flags.have = and i32 %flags, %flags.want
  %flags.ok = icmp eq i32 %flags.have, %flags.want
  %ok.1 = and i1 %dtype.ok, %rank.ok
  %ok.2 = and i1 %ok.1, %flags.ok
  br i1 %ok.2, label %plain, label %no
plain:
  %data.at = getelementptr i8, ptr %arg, i64 @DATA@
  %data = load ptr, ptr %data.at
  store ptr %data, ptr %word
  %dims.at = getelementptr i8, ptr %arg, i64 @DIMENSIONS@
  %dims = load ptr, ptr %dims.at
  %dims.want.at = getelementptr %Param, ptr %param, i32 0, i32 1
  %dims.want = load ptr, ptr %dims.want.at
  %itemsize.at = getelementptr %Param, ptr %param, i32 0, i32 5
  %itemsize = load i64, ptr %itemsize.at
  br label %next
next:
  %d = phi i64 [ 0, %plain ], [ %d.1, %same ]
  %bytes = phi i64 [ %itemsize, %plain ], [ %bytes.1, %same ]
  %some = icmp slt i64 %d, %rank.want
  br i1 %some, label %look.dim, label %yes
look.dim:
  %dim.at = getelementptr i64, ptr %dims, i64 %d
  %dim = load i64, ptr %dim.at
  %want.at = getelementptr i64, ptr %dims.want, i64 %d
  %want = load i64, ptr %want.at
  %fixed = icmp sge i64 %want, 0
  br i1 %fixed, label %compare, label %open
open:
  %slot = xor i64 %want, -1
  %size.at = getelementptr i64, ptr %sizes, i64 %slot
  %size = load i64, ptr %size.at
  %first = icmp slt i64 %size, 0
  br i1 %first, label %learn, label %compare
learn:
  store i64 %dim, ptr %size.at
  br label %same
compare:
  %expected = phi i64 [ %want, %look.dim ], [ %size, %open ]
  %equal = icmp eq i64 %dim, %expected
  br i1 %equal, label %same, label %no
same:
  %bytes.1 = mul i64 %bytes, %dim
  %d.1 = add i64 %d, 1
  br label %next
yes:
  store i64 %bytes, ptr %byte
  ret i1 true
no:
  ret i1 false
}

; Whether an output shares bytes with another array, all of them contiguous.
define internal i1 @share(ptr %table, ptr %words, ptr %bytes) {
entry:
  %pairs.at = getelementptr %Table, ptr %table, i32 0, i32 4
  %pairs = load ptr, ptr %pairs.at
  %count.at = getelementptr %Table, ptr %table, i32 0, i32 8
  %count = load i64, ptr %count.at
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.1, %apart ]
  %some = icmp slt i64 %i, %count
  br i1 %some, label %pair, label %no
pair:
  %a.at = getelementptr [2 x i64], ptr %pairs, i64 %i, i64 0
  %a = load i64, ptr %a.at
  %b.at = getelementptr [2 x i64], ptr %pairs, i64 %i, i64 1
  %b = load i64, ptr %b.at
  %a.from.at = getelementptr i64, ptr %words, i64 %a
  %a.from = load i64, ptr %a.from.at
  %a.bytes.at = getelementptr i64, ptr %bytes, i64 %a
  %a.bytes = load i64, ptr %a.bytes.at
  %a.to = add i64 %a.from, %a.bytes
  %b.from.at = getelementptr i64, ptr %words, i64 %b
  %b.from = load i64, ptr %b.from.at
  %b.bytes.at = getelementptr i64, ptr %bytes, i64 %b
  %b.bytes = load i64, ptr %b.bytes.at
  %b.to = add i64 %b.from, %b.bytes
  %starts.before = icmp ult i64 %a.from, %b.to
  %ends.after = icmp ult i64 %b.from, %a.to
  %meet = and i1 %starts.before, %ends.after
  br i1 %meet, label %yes, label %apart
apart:
  %i.1 = add i64 %i, 1
  br label %next
yes:
  ret i1 true
no:
  ret i1 false
}

define internal void @run(ptr %code, ptr %repeat, ptr %words, i64 %keep) {
entry:
  %short = icmp ne i64 %keep, 0
  br i1 %short, label %with, label %without
with:
  call void %repeat(ptr %code, ptr %words, i64 1)
  ret void
without:
  %thread = call ptr @PyEval_SaveThread()
  call void %repeat(ptr %code, ptr %words, i64 1)
  call void @PyEval_RestoreThread(ptr %thread)
  ret void
}

; Give up %count references to %objects.
define internal void @drop(ptr %objects, i64 %count) {
entry:
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.1, %object ]
  %some = icmp slt i64 %i, %count
  br i1 %some, label %object, label %done
object:
  %at = getelementptr ptr, ptr %objects, i64 %i
  %it = load ptr, ptr %at
  call void @Py_DecRef(ptr %it)
  %i.1 = add i64 %i, 1
  br label %next
done:
  ret void
}

declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
