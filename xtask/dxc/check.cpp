// check LIBRARY FILE: compiles a shader with Microsoft's compiler of HLSL, as wgpu calls it.
// The entry point is the first part of the file's name: scale_shift.0123.sm60.hlsl.
#include "WinAdapter.h"
#include "dxcapi.h"

#include <cstdio>
#include <dlfcn.h>
#include <fstream>
#include <iterator>
#include <string>

static std::wstring wide(const std::string &text) { return std::wstring(text.begin(), text.end()); }

int main(int count, char **words) {
    void *library = count == 3 ? dlopen(words[1], RTLD_NOW) : nullptr;
    auto create = library ? reinterpret_cast<DxcCreateInstanceProc>(dlsym(library, "DxcCreateInstance")) : nullptr;
    IDxcCompiler3 *compiler = nullptr;
    if (!create || FAILED(create(CLSID_DxcCompiler, __uuidof(IDxcCompiler3), reinterpret_cast<void **>(&compiler))))
        return fprintf(stderr, "error: the compiler's library cannot be loaded\n"), 2;
    std::string path = words[2], name = path.substr(path.find_last_of('/') + 1);
    std::ifstream file(path);
    std::string source{std::istreambuf_iterator<char>(file), {}};
    std::wstring shown = wide(path), entry = wide(name.substr(0, name.find('.')));
    LPCWSTR arguments[] = {shown.c_str(), L"-E", entry.c_str(), L"-T", L"cs_6_0", L"-HV", L"2018", L"-no-warnings"};
    DxcBuffer buffer{source.data(), source.size(), DXC_CP_UTF8};
    IDxcResult *result = nullptr;
    HRESULT status = compiler->Compile(&buffer, arguments, sizeof arguments / sizeof *arguments, nullptr,
                                       __uuidof(IDxcResult), reinterpret_cast<void **>(&result));
    if (FAILED(status) || !result) return fprintf(stderr, "%s:1: error: refused without a word\n", words[2]), 1;
    IDxcBlobUtf8 *said = nullptr;
    result->GetOutput(DXC_OUT_ERRORS, __uuidof(IDxcBlobUtf8), reinterpret_cast<void **>(&said), nullptr);
    if (said) fprintf(stderr, "%s", said->GetStringPointer());
    result->GetStatus(&status);
    return FAILED(status);
}
