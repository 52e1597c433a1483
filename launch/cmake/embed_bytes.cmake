# cmake -DINPUT=FILE -DHEADER=H -DNAME=kName -DOUTPUT=FILE.cpp -P embed_bytes.cmake: a file's bytes as the array
# muster::kName, its length as muster::kNameBytes, both declared in H.
file(READ ${INPUT} bytes HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUTPUT} "#include \"${HEADER}\"\nnamespace muster {\nconst unsigned char ${NAME}[] = {${bytes}};\nconst size_t ${NAME}Bytes = sizeof ${NAME};\n}  // namespace muster\n")
