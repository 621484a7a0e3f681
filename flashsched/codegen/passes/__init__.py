"""The lowering passes, one idea a file; `flashsched.codegen.lower` holds their order."""
